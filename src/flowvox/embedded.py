"""The small bundle that the package itself carries."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from flowvox.errors import BundleError

EMBEDDED = "tiny-int4"


def embedded_bundle() -> Path:
    """Its folder. Raises BundleError where it was not built."""
    path = Path(str(resources.files("flowvox"))) / "data" / EMBEDDED
    if not path.is_dir():
        raise BundleError("this installation carries no bundle of its own; name one with -b BUNDLE")
    return path
