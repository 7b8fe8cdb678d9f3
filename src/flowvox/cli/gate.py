"""`flowvox gate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flowvox.eval.gate import Check

WHOLE = 1000  # columns: a log of a CI job has 80 by default, and names would be cut


def gate(
    reports: Annotated[list[Path], typer.Argument(help="report.json of flowvox eval.")],
    budget: Annotated[Path, typer.Option(help="YAML file with the limits of each recipe.")],
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Write the budget from these reports.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare reports with a budget; exit 1 and name what fell outside."""
    from flowvox.cli.extras import needs

    with needs("eval"):
        from flowvox.eval.budget import calibrate as write_limits
        from flowvox.eval.budget import read_budgets
        from flowvox.eval.gate import gate as check
        from flowvox.eval.report.schema import read_report
    found = [read_report(path) for path in reports]
    if calibrate:
        import yaml

        from flowvox.files import write_beside

        text = yaml.safe_dump(write_limits(found), sort_keys=False)
        write_beside(budget, text.encode())
        typer.echo(f"{budget}: written from {len(found)} reports")
        return
    limits = read_budgets(budget)
    checks = [row for report in found for row in check(report, limits)]
    outside = [row for row in checks if not row.inside]
    if as_json:
        rows = [asdict(row) | {"inside": row.inside} for row in checks]
        typer.echo(json.dumps({"passed": not outside, "checks": rows}))
    else:
        _print(checks)
        for row in outside:
            what = row.unknown if row.found is None else f"{_number(row.found)} {row.unit}".strip()
            limit = f"at most {_number(row.margin)}"
            typer.echo(f"outside: {row.bundle} {row.metric} ({row.level}): {what}, {limit}")
        typer.echo("passed" if not outside else f"failed: {len(outside)} of {len(checks)} outside")
    if outside:
        raise typer.Exit(1)


def _print(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("bundle", "level", "metric"):
        table.add_column(name)
    for name in ("at worst", "margin"):
        table.add_column(name, justify="right")
    for name in ("unit", ""):
        table.add_column(name)
    for row in checks:
        found = "not known" if row.found is None else _number(row.found)
        answer = "inside" if row.inside else "[bold red]OUTSIDE[/]"
        table.add_row(
            row.bundle, row.level, row.metric, found, _number(row.margin), row.unit, answer
        )
    Console(width=WHOLE).print(table)


def _number(value: float) -> str:
    """Four digits, and of large ones, which are bytes, all."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
