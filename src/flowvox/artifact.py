"""A path that may be a bundle or a checkpoint, and the bundle that needs no path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from flowvox.bundle import Bundle
from flowvox.errors import BundleError, FlowvoxError
from flowvox.manifest import MANIFEST

if TYPE_CHECKING:
    from flowvox.reference.checkpoint import Checkpoint

EMBEDDED = "tiny-int4"


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


def embedded_bundle() -> Path:
    """The small bundle inside the package. Raises BundleError where it was not built."""
    path = Path(str(resources.files("flowvox"))) / "data" / EMBEDDED
    if not path.is_dir():
        raise BundleError("this installation carries no bundle of its own; name one with -b BUNDLE")
    return path
