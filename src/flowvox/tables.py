"""Rows looked up in memory-mapped arrays: embedding tables and voices, never a matrix product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import BundleError

FLOATS = (np.float32, np.float16)
SCAN_ROWS = 4096


class Table:
    """Rows stored as float32, float16, or int8 with one float32 or float16 scale per row.

    shape: [rows, dim] as the model needs it; anything else in the files is a BundleError.
    """

    def __init__(self, values: Path, scales: Path | None, shape: tuple[int, int]) -> None:
        self._values = _mapped(values)
        self._scales = None if scales is None else _mapped(scales)
        if self._values.shape != shape:
            raise BundleError(
                f"{values}: has shape {list(self._values.shape)}, the model needs {list(shape)}; "
                "make the bundle again"
            )
        expected = (np.int8,) if scales else FLOATS
        if self._values.dtype not in expected:
            raise BundleError(f"{values}: is stored as {self._values.dtype}; make the bundle again")
        if self._scales is not None and (
            self._scales.shape != shape[:1] or self._scales.dtype not in FLOATS
        ):
            raise BundleError(f"{scales}: should have {shape[0]} scales; make the bundle again")

    def rows(self, ids: NDArray[np.integer] | list[int]) -> NDArray[np.float32]:
        """float32 [..., dim] of the row numbers `ids` [...]."""
        picked = self._values[np.asarray(ids)].astype(np.float32)
        if self._scales is not None:
            picked *= self._scales[np.asarray(ids)][..., None]
        return picked

    def is_finite(self) -> bool:
        """Whether no value is NaN or infinite; reads the whole table, a few rows at a time."""
        stored = (self._values, self._scales)
        return all(
            np.isfinite(array[start : start + SCAN_ROWS]).all()
            for array in stored
            if array is not None
            for start in range(0, len(array), SCAN_ROWS)
        )


def _mapped(path: Path) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(
            f"{path}: not a readable array ({error}); make the bundle again"
        ) from None
    return array
