"""`flowvox info`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowvox.adapter import described
from flowvox.cli.lora import facts

if TYPE_CHECKING:
    from flowvox.source import ModelSource


def info(
    path: Annotated[Path, typer.Argument(help="Bundle, checkpoint or GGUF file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What is in a bundle, checkpoint or GGUF file."""
    from flowvox.bundle import Bundle
    from flowvox.cli.artifact import open_artifact

    artifact = open_artifact(path)
    found = _of_bundle(artifact) if isinstance(artifact, Bundle) else _of_checkpoint(artifact)
    if as_json:
        typer.echo(json.dumps(found))
        return
    components, adapters = found.pop("components"), found.pop("adapters", [])
    for key, value in found.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        typer.echo(f"{key:<12} {shown}")
    for line in described(adapters):
        typer.echo(f"{'adapter':<12} {line}")
    for name, entry in components.items():
        bits = f", {entry['bits_per_weight']:.2f} bits/weight" if "bits_per_weight" in entry else ""
        typer.echo(f"  {name:<16} {entry['parameters']:>13,} parameters{bits}")


def _of_bundle(bundle: Any) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "kind": "bundle",
        "path": str(bundle.path),
        "recipe": manifest["recipe"]["name"],
        "bytes": bundle.bytes,
        "license": manifest["license"],
        "voices": bundle.voices,
        "steps": manifest["sampling"]["steps"],
        "guidance": manifest["sampling"]["guidance"],
        "source": manifest["model"]["source_sha256"],
        **facts(bundle.adapters),
        "components": manifest["components"],
    }


def _of_checkpoint(checkpoint: ModelSource) -> dict[str, Any]:
    from flowvox.source import stored_components

    components = stored_components(checkpoint)
    return {
        **_kind(checkpoint),
        "path": str(checkpoint.path),
        "tensors": len(checkpoint.shapes),
        "parameters": sum(entry["parameters"] for entry in components.values()),
        "encoder": checkpoint.has_encoder,
        "license": checkpoint.licence,
        "voices": list(checkpoint.voices()),
        **facts(checkpoint.adapters),
        "components": components,
    }


def _kind(checkpoint: ModelSource) -> dict[str, Any]:
    """What it is; of a GGUF file its recipe and the formats of its tensors, too."""
    if not checkpoint.path.is_file():
        return {"kind": "checkpoint"}
    from flowvox.exporters.gguf.reader import GgufCheckpoint

    assert isinstance(checkpoint, GgufCheckpoint)
    counts = Counter(checkpoint.stored_format(name) for name in checkpoint.shapes)
    formats = [f"{count} {form}" for form, count in counts.most_common()]
    return {"kind": "gguf", "recipe": checkpoint.recipe, "formats": formats}
