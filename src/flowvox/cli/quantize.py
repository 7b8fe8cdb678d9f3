"""`flowvox quantize`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flowvox.adapter import AdapterRecord, described
from flowvox.cli.allocate import AUTO, check_options, find_recipe, show
from flowvox.cli.lora import facts, merged
from flowvox.cli.quantize_gguf import loss, loss_lines, plan_rows, write

GGML_NAMES = {"f32": "fp32", "f16": "fp16"}  # what ggml calls these recipes


def quantize(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder or GGUF file.")],
    recipe: Annotated[
        str, typer.Option("-r", "--recipe", help="Shipped name, YAML file, or `auto`.")
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="What to write.")] = None,
    kind: Annotated[
        Literal["onnx", "gguf"], typer.Option("-f", "--format", help="Bundle or GGUF file.")
    ] = "onnx",
    lora: Annotated[
        Path | None, typer.Option(help="PEFT adapter to merge first: its folder or .safetensors.")
    ] = None,
    lora_scale: Annotated[
        float, typer.Option(help="How much of the adapter, on top of its own scale.")
    ] = 1.0,
    component: Annotated[
        Literal["all", "backbone"],
        typer.Option(help="GGUF: the backbone alone, as llama.cpp runs it."),
    ] = "all",
    max_size: Annotated[
        str | None, typer.Option(help="auto: most bytes of the bundle, such as 2.5GB.")
    ] = None,
    target_rtf: Annotated[
        float | None, typer.Option(help="auto: compute time / audio time on the device.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto: name of a device, or `this` to measure here.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Checkpoint -> quantized bundle or GGUF file, by recipe."""
    from flowvox.cli.artifact import open_source
    from flowvox.machine import peak_rss_bytes
    from flowvox.recipe import load_recipe

    if component != "all" and (kind != "gguf" or dry_run):
        raise typer.BadParameter("--component is for -f gguf, without --dry-run")
    check_options(recipe, max_size, target_rtf, device, kind)
    source = merged(open_source(checkpoint), lora, lora_scale)
    if recipe == AUTO:
        chosen, allocation = find_recipe(source, max_size, target_rtf, device)
        show(allocation, chosen, out, dry_run=dry_run, as_json=as_json)
        if dry_run:
            return
    else:
        chosen = load_recipe(GGML_NAMES.get(recipe, recipe))
    if dry_run:
        rows = plan_rows(source, chosen) if kind == "gguf" else _plan_rows(source, chosen)
        _print_plan(rows, chosen, source.adapters, as_json)
        return
    if out is None:
        raise typer.BadParameter("name what to write with -o OUT (or use --dry-run)")
    started = time.perf_counter()
    if kind == "gguf":
        components = write(source, chosen, out, component, overwrite=overwrite)
        size = out.stat().st_size
    else:
        manifest = _export(source, chosen, out, overwrite)
        components = manifest["components"]
        size = sum(entry["bytes"] for entry in manifest["files"].values())
    result = {
        "path": str(out),
        "bytes": size,
        "recipe": chosen.name,
        "components": components,
        "seconds": round(time.perf_counter() - started, 3),
        "peak_rss_bytes": peak_rss_bytes(),
        **loss(source, chosen, kind),
        **facts(source.adapters),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print_result(result)


def _export(source: Any, recipe: Any, out: Path, overwrite: bool) -> dict[str, Any]:
    from flowvox.cli.extras import needs
    from flowvox.cli.progress import Report, byte_progress
    from flowvox.files import partial_sibling
    from flowvox.source import ModelSource

    with needs("export"):
        from flowvox.exporters.onnx.bundle_export import export_bundle
        from flowvox.exporters.onnx.check import Recording
        from flowvox.reference.activations import record

    def recordings(source: ModelSource, report: Report) -> dict[str, Recording]:
        return {name: Recording(*both) for name, both in record(source, report).items()}

    try:
        return export_bundle(
            source, recipe, out, recordings, overwrite=overwrite, progress=byte_progress
        )
    except KeyboardInterrupt:
        unfinished = partial_sibling(out)
        if unfinished.exists():
            typer.echo(f"flowvox: {unfinished} waits for the same command to go on", err=True)
        raise


def _plan_rows(source: Any, recipe: Any) -> list[dict[str, Any]]:
    """Every tensor of a bundle with its format and stored bytes."""
    from flowvox.quantizers.encode import check_recipe, stored_bytes, stored_format
    from flowvox.tensors import component_of

    check_recipe(recipe, source.shapes)
    plan = []
    for name, shape in source.shapes.items():
        component = component_of(name)
        if component is None:
            continue
        rule = recipe.rule(component, name)
        if rule.format == "omit":
            continue
        fmt, size = stored_format(name, shape, rule), stored_bytes(name, shape, rule)
        plan.append({"tensor": name, "shape": list(shape), "format": fmt, "bytes": size})
    return plan


def _print_plan(
    plan: list[dict[str, Any]], recipe: Any, adapters: list[AdapterRecord], as_json: bool
) -> None:
    from rich.console import Console
    from rich.table import Table

    total = sum(row["bytes"] for row in plan)
    if as_json:
        found = {"recipe": recipe.name, "bytes": total, "tensors": plan, **facts(adapters)}
        typer.echo(json.dumps(found))
        return
    table = Table("tensor", "shape", "format", "bytes", title=f"recipe {recipe.name}")
    for row in plan:
        shape = "x".join(str(n) for n in row["shape"])
        table.add_row(row["tensor"], shape, row["format"], f"{row['bytes']:,}")
    Console().print(table)
    for line in described(adapters):
        typer.echo(line)
    typer.echo(f"{len(plan)} tensors, about {total / 1e6:.1f} MB; nothing was written")


def _print_result(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("component", "parameters", "bytes", "bits/weight")
    for name, entry in result["components"].items():
        bits = f"{entry['bits_per_weight']:.2f}"
        table.add_row(name, f"{entry['parameters']:,}", f"{entry['bytes']:,}", bits)
    Console().print(table)
    for line in (*loss_lines(result), *described(result.get("adapters", []))):
        typer.echo(line)
    typer.echo(f"{result['path']}: {result['bytes'] / 1e6:.1f} MB in {result['seconds']:.1f} s")
