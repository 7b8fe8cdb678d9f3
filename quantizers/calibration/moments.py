"""Second moments of activations, added up as they come by, and their files.

A file holds the upper triangle of the mean of x^T x, row by row (half of 340 MB for the down
projections of the 4B shape), and the largest magnitude of every input. A .npz shows damage by its CRC.
"""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.files import write_beside
from flowvox.quantizers.statistics import InputStatistics


class Moments:
    """Of the inputs of one site."""

    def __init__(self, columns: int) -> None:
        self._sum = torch.zeros(columns, columns)
        self._maximum = torch.zeros(columns)
        self._weight = 0.0

    def add(self, x: Tensor, weights: Tensor) -> None:
        """Positions x [n, columns] that count weights [n] each."""
        self._sum.addmm_((x * weights[:, None]).T, x)
        seen = x[weights > 0]
        if len(seen):
            torch.maximum(self._maximum, seen.abs().amax(dim=0), out=self._maximum)
        self._weight += float(weights.sum())

    def save(self, path: Path) -> None:
        """Raises OutputError."""
        square = self._sum.numpy()
        square /= max(self._weight, 1e-30)
        triangle = np.concatenate([row[i:] for i, row in enumerate(square)])
        buffer = io.BytesIO()
        np.savez(buffer, triangle=triangle, maximum=self._maximum.numpy())
        write_beside(path, buffer.getvalue())


def is_whole(path: Path) -> bool:
    """Whether a file that `Moments.save` wrote is there, undamaged."""
    try:
        with ZipFile(path) as file:
            return file.testzip() is None and len(file.namelist()) == 2
    except (OSError, BadZipFile, EOFError, ValueError):
        return False


def load_statistics(path: Path) -> InputStatistics:
    """The statistics in a file that `is_whole`; its matrix is read when it is asked for."""
    with np.load(path) as arrays:
        triangle, maximum = arrays["triangle"], arrays["maximum"]
    size = len(maximum)
    starts = np.cumsum([0, *range(size, 1, -1)])
    return InputStatistics(triangle[starts], maximum, lambda: _square(path))


def _square(path: Path) -> NDArray[np.float32]:
    with np.load(path) as arrays:
        triangle, size = arrays["triangle"], len(arrays["maximum"])
    square = np.empty((size, size), dtype=np.float32)
    start = 0
    for i in range(size):
        row = triangle[start : start + size - i]
        square[i, i:] = square[i:, i] = row
        start += size - i
    return square
