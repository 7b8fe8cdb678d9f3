"""A path that may be a bundle or a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowvox.bundle import MANIFEST, Bundle
from flowvox.errors import FlowvoxError

if TYPE_CHECKING:
    from flowvox.reference.checkpoint import Checkpoint


def open_artifact(path: Path) -> Bundle | Checkpoint:
    """Open whichever it is, without hashing. Raises FlowvoxError if it is neither."""
    if (path / MANIFEST).exists():
        return Bundle.open(path, verify=False)
    if (path / "params.json").exists():
        from flowvox.reference.checkpoint import Checkpoint

        return Checkpoint.open(path)
    raise FlowvoxError(
        f"{path}: neither a bundle (with {MANIFEST}) nor a checkpoint (with params.json)"
    )
