"""`flowvox quantize -r auto`: the recipe is found, not given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flowvox.cli.plan import find_device

if TYPE_CHECKING:
    from flowvox.quantizers.allocation.allocate import Plan
    from flowvox.recipe import Recipe
    from flowvox.source import ModelSource

AUTO = "auto"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?B?)", re.IGNORECASE)


def parse_size(text: str) -> float:
    """ "2.5GB", "900 MB" or bytes -> bytes, in powers of ten. Raises typer.BadParameter."""
    match = _SIZE.fullmatch(text.strip())
    unit = match.group(2).upper() if match else ""
    if match is None or (unit and not unit.endswith("B")) or float(match.group(1)) == 0:
        raise typer.BadParameter(f"--max-size is {text!r}; write it like 2.5GB or 900MB")
    return float(match.group(1)) * UNITS[unit]


def check_options(
    recipe: str, max_size: str | None, target_rtf: float | None, device: str | None, kind: str
) -> None:
    """Budgets belong to -r auto, and -r auto needs one. Raises typer.BadParameter."""
    if recipe != AUTO:
        if (max_size, target_rtf, device) != (None, None, None):
            raise typer.BadParameter("--max-size, --target-rtf and --device are for -r auto")
        return
    if kind != "onnx":
        raise typer.BadParameter("-r auto is for bundles; GGUF files have recipes of their own")
    if max_size is None and target_rtf is None:
        raise typer.BadParameter("-r auto needs --max-size SIZE, or --target-rtf X --device NAME")
    if target_rtf is not None and device is None:
        raise typer.BadParameter("--target-rtf needs --device NAME (`this` measures here)")
    if target_rtf is not None and not target_rtf > 0:
        raise typer.BadParameter(f"--target-rtf is {target_rtf:g}; 1 is real time, less is faster")


def find_recipe(
    source: ModelSource, max_size: str | None, target_rtf: float | None, device: str | None
) -> tuple[Recipe, Plan]:
    """Measure, solve, and measure again. Raises FlowvoxError."""
    from flowvox.cli.extras import needs
    from flowvox.cli.progress import byte_progress, step_progress

    with needs("export"):
        from flowvox.quantizers.allocation.allocate import allocate
        from flowvox.quantizers.allocation.estimate import (
            SPEECH,
            Anchored,
            Measured,
            SecondOrder,
            measurable,
        )
        from flowvox.quantizers.allocation.explain import describe
        from flowvox.quantizers.allocation.ledger import default_folder
        from flowvox.quantizers.allocation.problem import Problem, Request
    size = None if max_size is None else parse_size(max_size)
    machine = None if device is None else find_device(device)
    method = "gptq" if measurable(source) else "search"
    problem = Problem(source, Request(size, target_rtf, machine), method)
    _ = problem.budget  # an impossible one is said before any work
    folder = default_folder()
    with byte_progress("reading") as report:
        source_hash = source.source_hash(report)
    if measurable(source):
        measured = Measured(problem, source_hash, folder)
        estimated = SecondOrder(problem, source_hash, folder, speech=SPEECH["measured"])
        anchored = Anchored(problem, measured, estimated)
        with step_progress("measuring") as report:
            plan = allocate(problem, anchored.part, measured.whole, report)
    else:
        with step_progress("gradients") as report:
            estimated = SecondOrder(problem, source_hash, folder, report)
            plan = allocate(problem, estimated.part, None)
    return problem.recipe(plan.choice, AUTO, describe(plan)), plan


def show(plan: Plan, recipe: Recipe, out: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Print the plan, write the recipe: to `out` itself in a dry run, else beside the bundle."""
    from flowvox.quantizers.allocation.explain import to_dict
    from flowvox.recipe import save_recipe

    path = out if dry_run or out is None else out.with_name(f"{out.name}.yaml")
    if not as_json:
        print_allocation(plan)
    elif dry_run:
        typer.echo(json.dumps({"recipe": recipe.to_dict(), **to_dict(plan)}))
    if path is not None:
        save_recipe(recipe, path)
        if not as_json:
            typer.echo(f"{path}: the recipe, to be edited and used again with -r {path}")


def print_allocation(plan: Plan) -> None:
    """The table of groups with reasons, then the totals."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from flowvox.quantizers.allocation.explain import rows, summary

    timed = plan.rtf is not None
    columns = ["group", "format", "bytes", *(["ms"] if timed else []), "loss"]
    table = Table(*columns, "smaller", "better", box=SIMPLE_HEAD, padding=(0, 1))
    for row in rows(plan):
        times = [f"{row.ms:.3f}"] if timed else []
        table.add_row(
            row.group, row.format, f"{row.bytes:,}", *times, f"{row.share:.1%}", row.less, row.more
        )
    Console(width=max(Console().width, 140)).print(table)
    for line in summary(plan):
        typer.echo(line)
