"""What `flowvox quantize -f gguf` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowvox.cli.extras import needs

if TYPE_CHECKING:
    from flowvox.recipe import Recipe
    from flowvox.source import ModelSource


def write(source: ModelSource, recipe: Recipe, out: Path, *, overwrite: bool) -> dict[str, Any]:
    """Write the file; returns its components as a bundle's manifest has them."""
    from flowvox.cli.progress import byte_progress

    with needs("gguf"):
        from flowvox.exporters.gguf.writer import export_gguf

    with byte_progress("converting") as report:
        return export_gguf(source, recipe, out, overwrite=overwrite, report=report)


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
