"""A path that may be a bundle or a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowvox.bundle import Bundle
from flowvox.errors import FlowvoxError
from flowvox.manifest import MANIFEST

if TYPE_CHECKING:
    from flowvox.reference.checkpoint import Checkpoint


def is_bundle(path: Path) -> bool:
    """True for a bundle, False for a checkpoint. Raises FlowvoxError if it is neither."""
    if (path / MANIFEST).is_file():
        return True
    if (path / "params.json").is_file():
        return False
    raise FlowvoxError(
        f"{path}: neither a bundle (with {MANIFEST}) nor a checkpoint (with params.json)"
    )


def open_artifact(path: Path) -> Bundle | Checkpoint:
    """Open whichever it is, without hashing. Raises FlowvoxError if it is neither."""
    if is_bundle(path):
        return Bundle.open(path, verify=False)
    from flowvox.reference.checkpoint import Checkpoint

    return Checkpoint.open(path)
