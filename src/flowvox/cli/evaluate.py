"""`flowvox eval`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flowvox.eval.suite_data import Suite


def evaluate(
    bundles: Annotated[
        list[Path], typer.Argument(help="Bundles; a checkpoint runs the reference.")
    ],
    baseline: Annotated[Path, typer.Option(help="What they are compared with, often fp16.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the report.")],
    suite: Annotated[str, typer.Option(help="Shipped name or YAML file.")] = "standard",
    recognizer: Annotated[
        Path | None, typer.Option(help="Folder of another faster-whisper model.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="In place of the suite's, such as 2,3.")] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Utterances of each part of the suite, at most.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes that speak and listen at once.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Compare settings of the flow's sampling instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report.")] = False,
) -> None:
    """What was lost against the baseline: report.json, report.md, report.html.

    With --sweep: which solvers, steps, time grids and guidance intervals do as well as the published
    setting, for the baseline and for each bundle: sweep.json, sweep.md.
    """
    from flowvox.cli.artifact import open_artifact
    from flowvox.cli.extras import needs
    from flowvox.cli.progress import step_progress
    from flowvox.files import check_folder

    with needs("eval"):
        from flowvox.eval.ahead import most_jobs
        from flowvox.eval.cache import Cache, default_folder
        from flowvox.eval.ears import Ears
        from flowvox.eval.harness import evaluate as run
        from flowvox.eval.recordings import save_recordings
        from flowvox.eval.report.write import write
        from flowvox.eval.suite import load_suite
    chosen = load_suite(suite)
    if seeds is not None:
        chosen = chosen.with_seeds(seeds)
    if most is not None:
        chosen = chosen.at_most(most)
    jobs = jobs or most_jobs()
    for path in (baseline, *bundles):
        open_artifact(path)
    check_folder(out)
    if sweep:
        _sweep(bundles, baseline, chosen, recognizer, jobs, out, as_json)
        return
    with step_progress("measuring") as report_progress:
        report, measured = run(
            bundles,
            baseline,
            chosen,
            cache=Cache(default_folder()),
            ears=Ears.open(recognizer),
            command=["flowvox", *sys.argv[1:]],
            jobs=jobs,
            progress=report_progress,
        )
        out.mkdir(parents=True, exist_ok=True)
        save_recordings(report, measured, out)
        write(report, out)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps(json.loads((out / "report.json").read_text("utf-8"))))
    else:
        _print(report, out)


def _sweep(
    bundles: list[Path],
    baseline: Path,
    suite: Suite,
    recognizer: Path | None,
    jobs: int,
    out: Path,
    as_json: bool,
) -> None:
    from flowvox.cli.progress import step_progress
    from flowvox.eval.cache import Cache, default_folder
    from flowvox.eval.ears import Ears
    from flowvox.eval.sweep import sweep
    from flowvox.eval.sweep_table import table, write

    with step_progress("sweeping") as report_progress:
        report = sweep(
            bundles,
            baseline,
            suite,
            cache=Cache(default_folder()),
            ears=Ears.open(recognizer),
            command=["flowvox", *sys.argv[1:]],
            jobs=jobs,
            progress=report_progress,
        )
        out.mkdir(parents=True, exist_ok=True)
        write(report, out)
    typer.echo(json.dumps(report) if as_json else table(report))


def _print(report: dict[str, Any], out: Path) -> None:
    from flowvox.eval.report.verdicts import headline

    for metric, reason in report["not_measured"].items():
        typer.echo(f"{metric}: not measured: {reason}", err=True)
    typer.echo(headline(report))  # type: ignore[arg-type]
    typer.echo(f"{out}/report.html")
