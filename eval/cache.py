"""Results on disk by content: what was asked of which weights. A second bundle costs only its own run.

Entries are .npz files of plain arrays; they are never unpickled, and a damaged one counts as missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from flowvox.files import write_beside

VERSION = 1  # of what the entries mean: raise it when a level measures something else
Arrays = dict[str, NDArray[np.generic]]


def default_folder() -> Path:
    """$FLOWVOX_CACHE, else the user's cache folder."""
    if folder := os.environ.get("FLOWVOX_CACHE"):
        return Path(folder)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "flowvox" / "eval"


class Cache:
    """A folder of results. Another onnxruntime computes them anew: kernels change between versions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arrays(self, key: tuple[object, ...], compute: Callable[[], Arrays]) -> Arrays:
        """The stored arrays of `key` (JSON values), else computed and stored.

        What `compute` raises goes through, and nothing is stored.
        """
        content = json.dumps([VERSION, version("onnxruntime"), *key])
        digest = hashlib.sha256(content.encode()).hexdigest()
        file = self.folder / f"{digest}.npz"
        try:
            with np.load(file, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, BadZipFile, EOFError):
            pass
        arrays = compute()
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_beside(file, buffer.getvalue())
        return arrays
