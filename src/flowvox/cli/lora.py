"""Adapters on the command line: merging them, and telling of those that were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flowvox.adapter import AdapterRecord

if TYPE_CHECKING:
    from flowvox.source import ModelSource


def merged(source: ModelSource, lora: Path | None, scale: float) -> ModelSource:
    """The source with the adapter `lora` in its weights; itself without one. Raises FlowvoxError."""
    if not math.isfinite(scale) or scale == 0:
        raise typer.BadParameter(f"--lora-scale {scale:g} is no scale; leave --lora out for none")
    if lora is None:
        if scale != 1:
            raise typer.BadParameter("--lora-scale is for --lora ADAPTER")
        return source
    from flowvox.reference.lora.merged import MergedSource

    return MergedSource(source, lora, scale)


def facts(adapters: Sequence[AdapterRecord]) -> dict[str, Any]:
    """The same for --json; nothing where nothing was merged."""
    return {"adapters": list(adapters)} if adapters else {}
