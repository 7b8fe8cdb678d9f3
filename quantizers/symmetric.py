"""Grids with the zero point in the middle: only a scale per block is to be found.

"round": the largest weight maps to the end of the range. "search": the scale of least (weighted)
squared error among a grid of candidates, each refined by the closed-form optimum s = <w, q> / <q, q> of
its own rounding q. With the importance of each input as weights this is what llama.cpp's importance
matrix does for its symmetric formats (ggml-quants.c, make_qx_quants).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.blocks import Floats, Grid, stored_scales

# Candidate positions of the largest weight on the grid, in units of the largest level. Above 1 the
# largest weight is clipped, which pays where it is an outlier.
SEARCH_GRID = {
    2: (0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.7, 2.0, 2.3),
    4: (0.78, 0.86, 0.93, 1.0, 1.07, 1.15),
    8: (0.97, 1.0),
}


def round_symmetric(blocks: Floats, bits: int) -> Grid:
    """The weight of largest magnitude of each block [n, block] maps to level -2^(b-1)."""
    return _grid(-_extreme(blocks) / (1 << (bits - 1)), bits)


def search_symmetric(blocks: Floats, bits: int, importance: Floats | None = None) -> Grid:
    """The grid of least squared error, weighted by importance [n, block]; never worse than rounding."""
    best = round_symmetric(blocks, bits)
    least = best.error(blocks, importance)
    extreme = _extreme(blocks)
    half = 1 << (bits - 1)
    for sign in (-1, 1):
        for position in SEARCH_GRID[bits]:
            candidate = _grid(sign * extreme / ((half - (sign == 1)) * position), bits)
            refined = _refined(blocks, candidate, importance)
            error = refined.error(blocks, importance)
            better = error < least
            best, least = refined.where(better, best), np.where(better, error, least)
    return best


def _refined(blocks: Floats, grid: Grid, importance: Floats | None) -> Grid:
    """The scale of least error for the levels that the grid rounds to."""
    levels = grid.levels(blocks) - grid.zeros[:, None]
    weighted = levels if importance is None else levels * importance
    power = np.einsum("ij,ij->i", weighted, levels)
    match = np.einsum("ij,ij->i", weighted, blocks)
    optimum = np.divide(match, power, out=np.zeros_like(match), where=power > 0)
    return Grid(grid.top, stored_scales(optimum), grid.zeros)


def _grid(scales: NDArray[np.floating], bits: int) -> Grid:
    zeros = np.full(len(scales), 1 << (bits - 1), dtype=np.float32)
    return Grid((1 << bits) - 1, stored_scales(scales), zeros)


def _extreme(blocks: Floats) -> Floats:
    """The signed weight of largest magnitude of each block."""
    index = np.abs(blocks).argmax(axis=1)
    return blocks[np.arange(len(blocks)), index]
