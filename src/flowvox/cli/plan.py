"""`flowvox plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flowvox.planner.devices import Device
    from flowvox.planner.plan import Plan

LARGEST_TARGET = 1000.0


def plan(
    path: Annotated[Path, typer.Argument(help="Checkpoint (params.json is enough) or bundle.")],
    device: Annotated[str, typer.Option(help="Name of a device, or `this` to measure here.")],
    target_rtf: Annotated[
        float, typer.Option(help="Compute time / audio time to stay below.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Will it run there, how fast, and with which recipe; exit 1 if the answer is no."""
    from flowvox.bundle import Bundle
    from flowvox.cli.artifact import is_bundle
    from flowvox.config import ModelConfig
    from flowvox.planner.plan import make_plan, offered
    from flowvox.recipe import Recipe, load_recipe, shipped_recipes

    if not 0 < target_rtf <= LARGEST_TARGET:
        raise typer.BadParameter(f"--target-rtf is {target_rtf:g}; 1 is real time, less is faster")
    if is_bundle(path):
        bundle = Bundle.open(path, verify=False)
        config = bundle.config
        recipes = [Recipe.from_dict(bundle.manifest["recipe"], str(path))]
        machine = find_device(device)
    else:
        config = ModelConfig.load(path)
        shipped = [load_recipe(name) for name in shipped_recipes()]
        machine = find_device(device)
        recipes = offered(shipped, machine)
    result = make_plan(config, recipes, machine, target_rtf)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        _print(result)
    if result.choice is None:
        raise typer.Exit(1)


def find_device(name: str) -> Device:
    """Of the table, or measured. Raises FlowvoxError."""
    from flowvox.planner.devices import THIS, load_device

    if name != THIS:
        return load_device(name)
    from rich.console import Console

    from flowvox.eval.probe import measure_this

    with Console(stderr=True).status("measuring this machine"):
        return measure_this()


def _print(result: Plan) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from flowvox.planner.speed import STAGES

    device, shown = result.device, result.choice or result.offline
    stages = [f"{stage}\nms" for stage in STAGES]
    columns = (
        "recipe",
        "quality",
        "evalua-\ntions",
        "RTF",
        *stages,
        "first\naudio, s",
        "memory\nGB",
        "",
    )
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1))
    for row in result.candidates:
        speed = row.speed
        table.add_row(
            row.recipe,
            row.quality,
            str(row.evaluations),
            f"{speed.rtf:.2f}",
            *(f"{1e3 * speed.frame[stage]:.1f}" for stage in STAGES),
            f"{speed.first_audio:.2f}",
            f"{row.memory.total / 1e9:.1f}",
            "<" if row is shown else "" if row.fits else "no room",
        )
    Console(width=max(Console().width, 100)).print(table)
    typer.echo(
        f"{device.title}: {device.usable:.1f} GB usable, reads at {device.share:.0%} of "
        f"{device.bandwidth:.0f} GB/s ({'; '.join(device.sources)})"
    )
    if result.choice is not None:
        best = result.choice
        typer.echo(
            f"yes: {best.recipe}, {best.quality} quality, RTF {best.speed.rtf:.2f}, first audio after "
            f"{best.speed.first_audio:.1f} s"
        )
    else:
        typer.echo(f"no: {result.reason}")
        typer.echo(_offline(result))
    for note in result.notes:
        typer.echo(f"note: {note}")


def _offline(result: Plan) -> str:
    if result.offline is None:
        return "offline it does not run either: it does not fit the memory"
    best = result.offline
    return (
        f"offline it runs: {best.recipe}, {best.quality} quality, {60 * best.speed.rtf:.0f} s for a "
        "minute of speech (flowvox say TEXT -b BUNDLE -o speech.wav)"
    )
