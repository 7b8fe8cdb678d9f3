"""A path that may be a bundle, a checkpoint folder or a GGUF file."""

from __future__ import annotations

from pathlib import Path

from flowvox.bundle import Bundle
from flowvox.errors import FlowvoxError
from flowvox.manifest import MANIFEST
from flowvox.source import ModelSource


def is_bundle(path: Path) -> bool:
    """True for a bundle, False for a checkpoint or GGUF. Raises FlowvoxError if it is none of them."""
    if (path / MANIFEST).is_file():
        return True
    from flowvox.exporters.gguf.reader import is_gguf

    if (path / "params.json").is_file() or is_gguf(path):
        return False
    raise FlowvoxError(
        f"{path}: neither a bundle (with {MANIFEST}) nor a checkpoint (with params.json) "
        "nor a GGUF file"
    )


def open_source(path: Path) -> ModelSource:
    """Open a checkpoint folder or a GGUF file. Raises FlowvoxError."""
    if path.is_file():
        from flowvox.exporters.gguf.reader import GgufCheckpoint

        return GgufCheckpoint(path)
    from flowvox.reference.checkpoint import Checkpoint

    return Checkpoint.open(path)


def open_artifact(path: Path) -> Bundle | ModelSource:
    """Open whichever it is, without hashing. Raises FlowvoxError if it is none of them."""
    return Bundle.open(path, verify=False) if is_bundle(path) else open_source(path)
