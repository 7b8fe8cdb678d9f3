"""Embedding tables of a bundle: rows looked up in a memory-mapped array, never a matrix product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import BundleError


class Table:
    """Rows stored as float32, float16, or int8 with one float32 scale per row."""

    def __init__(self, values: Path, scales: Path | None, shape: tuple[int, int]) -> None:
        self._values = _mapped(values)
        self._scales = None if scales is None else _mapped(scales)
        if self._values.shape != shape:
            raise BundleError(
                f"{values}: has shape {list(self._values.shape)}, the model needs {list(shape)}; "
                "make the bundle again"
            )
        expected = (np.int8,) if scales else (np.float32, np.float16)
        if self._values.dtype not in expected:
            raise BundleError(f"{values}: is stored as {self._values.dtype}; make the bundle again")
        if self._scales is not None and self._scales.shape != shape[:1]:
            raise BundleError(f"{scales}: should have {shape[0]} scales; make the bundle again")

    def rows(self, ids: NDArray[np.integer] | list[int]) -> NDArray[np.float32]:
        """float32 [..., dim] of the row numbers `ids` [...]."""
        picked = self._values[np.asarray(ids)].astype(np.float32)
        if self._scales is not None:
            picked *= self._scales[np.asarray(ids)][..., None]
        return picked


def _mapped(path: Path) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(
            f"{path}: not a readable array ({error}); make the bundle again"
        ) from None
    return array
