"""What `flowvox quantize` does with GGUF files: write them, and say what reading one cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowvox.cli.extras import needs

if TYPE_CHECKING:
    from flowvox.recipe import Recipe
    from flowvox.source import ModelSource


def write(
    source: ModelSource, recipe: Recipe, out: Path, component: str, *, overwrite: bool
) -> dict[str, Any]:
    """Write the file; returns its components as a bundle's manifest has them."""
    from flowvox.cli.progress import byte_progress

    with needs("gguf"):
        from flowvox.exporters.gguf.backbone_file import export_backbone
        from flowvox.exporters.gguf.writer import export_gguf

    export = export_backbone if component == "backbone" else export_gguf
    statistics = None
    if recipe.calibrated:
        with needs("export"):
            from flowvox.quantizers.calibration.cache import calibrate
            from flowvox.quantizers.folding.rotation import rotated, statistics_key
        with byte_progress("reading") as report:
            source_hash = source.source_hash(report)
        with byte_progress("calibrating") as report:
            key = statistics_key(source_hash, recipe)
            statistics = calibrate(rotated(source, recipe), key, report)
    with byte_progress("converting") as report:
        return export(
            source, recipe, out, overwrite=overwrite, report=report, statistics=statistics
        )


def plan_rows(source: ModelSource, recipe: Recipe) -> list[dict[str, Any]]:
    """Every tensor under its name in the file, with format and bytes."""
    from flowvox.exporters.gguf.plan import plan

    return [
        {
            "tensor": tensor.entry.name,
            "shape": list(tensor.entry.shape),
            "format": tensor.form,
            "bytes": tensor.size,
        }
        for tensor in plan(source.config, recipe, encoder=source.has_encoder)
    ]


def loss(source: ModelSource, recipe: Recipe, kind: str) -> dict[str, Any]:
    """{"transfer": ...} of a conversion whose source is a GGUF file, nothing for a checkpoint."""
    if not source.path.is_file():
        return {}
    from flowvox.exporters.gguf.transfer import transfer

    return {"transfer": transfer(source, recipe, kind)}


def loss_lines(result: dict[str, Any]) -> Iterator[str]:
    """The same for people."""
    if "transfer" not in result:
        return
    yield f"{result['transfer']['kept']} matrices are taken over block by block, without loss"
    for name, entry in result["transfer"]["converted"].items():
        error = entry["relative_error"]
        added = "not measured" if error is None else f"{error:.2g} of the weights"
        yield f"{entry['matrices']} from {name}; error added: {added}"
