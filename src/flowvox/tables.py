"""Rows looked up in memory-mapped arrays: embedding tables and voices, never a matrix product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import BundleError

FLOATS = (np.float32, np.float16)
SCAN_ROWS = 4096


class Table:
    """Rows stored in one of four ways, told apart by the arrays' types.

    float32 or float16 [rows, dim]; int8 [rows, dim] with a float32 or float16 scale per row [rows];
    4 bits, two weights a byte, the first in the low nibble, offset by 8: uint8 [rows, bytes] with
    float16 scales [rows, blocks], the last block padded.

    shape: [rows, dim] as the model needs it; anything else in the files is a BundleError.
    """

    def __init__(self, values: Path, scales: Path | None, shape: tuple[int, int]) -> None:
        self._values = _mapped(values)
        self._scales = None if scales is None else _mapped(scales)
        rows, self._dim = shape
        dtype = self._values.dtype
        if dtype not in ((np.int8, np.uint8) if scales else FLOATS):
            raise BundleError(f"{values}: is stored as {dtype}; make the bundle again")
        wanted: tuple[int, ...] = (rows,)
        if dtype == np.uint8:
            self._block = self._block_size()
            wanted = (rows, -(-self._dim // self._block))
            shape = (rows, wanted[1] * self._block // 2)
        if self._values.shape != shape:
            raise BundleError(
                f"{values}: has shape {list(self._values.shape)}, the model needs {list(shape)}; "
                "make the bundle again"
            )
        if self._scales is not None and (
            self._scales.shape != wanted or self._scales.dtype not in FLOATS
        ):
            raise BundleError(f"{scales}: should have {list(wanted)} scales; make the bundle again")

    def _block_size(self) -> int:
        """Weights that share a scale, by the lengths of a row and of its scales."""
        packed, scales = self._values.shape, () if self._scales is None else self._scales.shape
        if len(packed) == 2 and len(scales) == 2 and scales[1]:
            return max(2, 2 * packed[1] // scales[1])
        return 2

    def rows(self, ids: NDArray[np.integer] | list[int]) -> NDArray[np.float32]:
        """float32 [..., dim] of the row numbers `ids` [...]."""
        stored = self._values[np.asarray(ids)]
        if self._scales is None:
            return stored.astype(np.float32)
        scales = self._scales[np.asarray(ids)].astype(np.float32)[..., None]
        if stored.dtype == np.int8:
            return stored.astype(np.float32) * scales
        levels = np.stack([stored & 15, stored >> 4], axis=-1).astype(np.float32) - 8
        blocks = levels.reshape(*scales.shape[:-1], self._block) * scales
        return blocks.reshape(*stored.shape[:-1], -1)[..., : self._dim]

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
