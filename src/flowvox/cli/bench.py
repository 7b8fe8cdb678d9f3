"""`flowvox bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def bench(
    bundles: Annotated[
        list[Path], typer.Argument(help="Bundles; a checkpoint runs the reference.")
    ],
    baseline: Annotated[
        Path | None, typer.Option(help="What the speed-up is relative to; else the first.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times each sentence is spoken.")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Interleaved speed, memory, load time and size."""
    from flowvox.cli.artifact import open_artifact
    from flowvox.cli.progress import step_progress
    from flowvox.eval.bench import run_bench

    paths = list(dict.fromkeys([*([baseline] if baseline else []), *bundles]))
    for path in paths:
        open_artifact(path)
    with step_progress("speaking") as report:
        result = run_bench(paths, rounds=rounds, threads=threads, report=report)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("bundle", no_wrap=True)
    for name in ("RTF", "p95", "speed", "ms/frame", "first", "load", "memory", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in result["runs"]:
        table.add_row(
            Path(run["bundle"]).name,
            ("~" if run["noisy"] else "") + f"{run['rtf']['median']:.3f}",
            f"{run['rtf']['p95']:.3f}",
            f"{run['speedup']:.1f}x",
            "+".join(f"{ms:.1f}" for ms in run["ms_per_frame"].values()),
            f"{run['first_audio_seconds'] * 1000:.0f} ms",
            f"{run['load_seconds']:.1f} s",
            f"{run['peak_rss_bytes'] / 1e6:.0f} MB",
            f"{run['bytes'] / 1e6:.0f} MB",
        )
    Console().print(table)
    machine = result["machine"]
    stages = "+".join(result["runs"][0]["ms_per_frame"])
    typer.echo(f"ms/frame: {stages}; speed: against the first, in this run; ~: noisy")
    typer.echo(
        f"{machine['processor']}, {machine['threads']} threads, onnxruntime {machine['onnxruntime']}"
    )
