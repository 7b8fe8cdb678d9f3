"""`flowvox bench`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Component(StrEnum):
    """What `--component` takes."""

    flow = "flow"
    backbone = "backbone"


def bench(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundles; a checkpoint runs the reference.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="What the speed-up is relative to; else the first.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times each sentence is spoken.")] = 3,
    component: Annotated[
        Component | None,
        typer.Option(help="Instead of bundles: time this part of SHAPE in every storage format."),
    ] = None,
    shape: Annotated[
        str, typer.Option(help="With --component: 4b, tiny, or a file like params.json.")
    ] = "4b",
    limit: Annotated[
        bool, typer.Option(help="Backbone against memory bandwidth and llama.cpp.")
    ] = False,
    long: Annotated[
        float | None,
        typer.Option(
            "--long", min=1, help="Speak so many seconds, then ROUNDS sentences: memory, drift."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Interleaved speed, memory, load time and size; or which format wins on this machine."""
    if component is not None:
        if bundles or baseline:
            raise typer.BadParameter("--component makes its own graphs; leave out the bundles")
        _bench_component(component, shape, threads, as_json)
        return
    if not bundles:
        raise typer.BadParameter("name a bundle, or --component flow to compare storage formats")
    if limit or long is not None:
        if len(bundles) > 1 or baseline or (limit and long is not None):
            raise typer.BadParameter("--limit or --long measure one bundle, one at a time")
        if long is None:
            _bench_limit(bundles[0], rounds, threads, as_json)
        else:
            _bench_long(bundles[0], long, rounds, threads, as_json)
        return
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


def _bench_component(component: Component, shape: str, threads: int | None, as_json: bool) -> None:
    from flowvox.cli.progress import step_progress
    from flowvox.config import ModelConfig
    from flowvox.eval.component import bench_component
    from flowvox.reference.random_checkpoint import load_shape

    config = ModelConfig.from_dict(load_shape(shape))
    with step_progress("timing") as report:
        result = bench_component(component.value, config, threads=threads, report=report)
    if as_json:
        typer.echo(json.dumps({"shape": shape, **result}))
    else:
        _print_component(result)


def _bench_limit(bundle: Path, rounds: int, threads: int | None, as_json: bool) -> None:
    from flowvox.cli.progress import step_progress
    from flowvox.eval.limit import PEER_MISSING, bench_limit

    with step_progress("rounds") as report:
        result = bench_limit(bundle, rounds=rounds, threads=threads, report=report)
    if as_json:
        typer.echo(json.dumps(result))
        return
    ours, peer, machine = result["backbone"], result["llama_cpp"], result["machine"]
    typer.echo(f"memory is read at {result['bandwidth_gb_s']:.1f} GB/s")
    typer.echo(
        f"the backbone ({ours['bytes'] / 1e9:.2f} GB) takes {ours['ms']:.1f} ms a frame, "
        f"{ours['best_ms']:.1f} at best: {ours['gb_s']:.1f} GB/s, {ours['share']:.0%} of that"
    )
    typer.echo(
        f"its kernels read {ours['read_bytes'] / 1e9:.2f} GB: {ours['read_share']:.0%} of the "
        f"bandwidth, {ours['best_read_share']:.0%} in the best round"
    )
    typer.echo(f"a thread works {ours['processor_ms']:.1f} ms a frame")
    if peer is None:
        typer.echo(PEER_MISSING)
    else:
        typer.echo(
            f"llama.cpp ({peer['version']}, {peer['format']}) takes {peer['ms']:.1f} ms: "
            f"{peer['ratio']:.2f} times as long"
        )
    typer.echo(
        f"{machine['processor']}, {machine['threads']} threads, onnxruntime {machine['onnxruntime']}"
    )


def _bench_long(
    bundle: Path, seconds: float, utterances: int, threads: int | None, as_json: bool
) -> None:
    from flowvox.cli.progress import step_progress
    from flowvox.eval.long_run import long_run

    with step_progress("speaking") as report:
        result = long_run(
            bundle, seconds=seconds, utterances=utterances, threads=threads, report=report
        )
    if as_json:
        typer.echo(json.dumps(result))
        return
    one, many = result["one"], result["many"]
    drift = one["drift"]
    typer.echo(
        f"{one['audio_seconds']:.1f} s in one go: RTF {one['rtf']:.3f}, memory {_grown(one)}; streamed "
        f"against whole: {drift['beginning']:.1e} at the beginning, {drift['end']:.1e} at the end"
    )
    stages = "+".join(f"{ms:.1f}" for ms in one["ms_per_frame"].values())
    typer.echo(
        f"{stages} ms a frame ({'+'.join(one['ms_per_frame'])}), prompts {one['prompt_seconds']:.2f} "
        f"s, first audio after {one['first_audio_seconds']:.2f} s"
    )
    typer.echo(f"{many['utterances']} utterances in a row: memory {_grown(many)}")


def _grown(row: dict[str, Any]) -> str:
    if row["grown_bytes"] is None:
        return "unknown"
    return f"{row['anonymous_bytes'] / 1e6:.0f} MB ({row['grown_bytes'] / 1e6:+.1f})"


def _print_component(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("format", no_wrap=True)
    for name in ("ms/frame", "time", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("recipes")
    for row in result["candidates"]:
        table.add_row(
            row["format"],
            f"{row['ms_per_frame']:.1f}",
            f"{row['relative']:.2f}x",
            f"{row['bytes'] / 1e6:.0f} MB",
            ", ".join(row["recipes"]),
        )
    Console().print(table)
    layers, machine = result["layers"], result["machine"]
    typer.echo(f"{result['winner']} is the quickest for the {result['component']} here")
    if layers["measured"] < layers["of"]:
        typer.echo(f"{layers['measured']} layers measured, scaled to {layers['of']}")
    typer.echo(
        f"{machine['processor']}, {machine['threads']} threads, memory read at "
        f"{machine['read_gb_per_s']:.0f} GB/s, onnxruntime {machine['onnxruntime']}"
    )


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("bundle", no_wrap=True)
    for name in ("RTF", "p95", "speed", "ms/frame", "first", "load", "memory", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    counted = all(run["joules_per_audio_second"] is not None for run in result["runs"])
    if counted:
        table.add_column("energy", justify="right", no_wrap=True)
    for run in result["runs"]:
        energy = [f"{run['joules_per_audio_second']:.2f} J/s"] if counted else []
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
            *energy,
        )
    Console().print(table)
    machine = result["machine"]
    stages = "+".join(result["runs"][0]["ms_per_frame"])
    typer.echo(f"ms/frame: {stages}; speed: against the first, in this run; ~: noisy")
    typer.echo(
        f"{machine['processor']}, {machine['threads']} threads, onnxruntime {machine['onnxruntime']}"
    )
