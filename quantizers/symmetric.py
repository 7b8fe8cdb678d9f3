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

Halves = NDArray[np.float16]

# Candidate positions of the largest weight on the grid, in units of the largest level. Above 1 the
# largest weight is clipped, which pays where it is an outlier.
SEARCH_GRID = {
    2: (0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.7, 2.0, 2.3),
    4: (0.78, 0.86, 0.93, 1.0, 1.07, 1.15),
    8: (0.97, 1.0),
}


def round_symmetric(blocks: Floats, bits: int) -> Grid:
    """The weight of largest magnitude of each block [n, block] maps to level -2^(b-1)."""
    return _grid(_rounded(blocks, bits), bits)


def search_symmetric(blocks: Floats, bits: int, importance: Floats | None = None) -> Grid:
    """The grid of least squared error, weighted by importance [n, block]; never worse than rounding."""
    best = _rounded(blocks, bits)
    least = _error(blocks, best, bits, importance)
    extreme = _extreme(blocks)
    half = 1 << (bits - 1)
    for sign in (-1, 1):
        for position in SEARCH_GRID[bits]:
            candidate = stored_scales(sign * extreme / ((half - (sign == 1)) * position))
            levels = _levels(blocks, candidate, bits)
            weighted = levels if importance is None else levels * importance
            power = np.einsum("ij,ij->i", weighted, levels)
            match = np.einsum("ij,ij->i", weighted, blocks)
            optimum = np.divide(match, power, out=np.zeros_like(match), where=power > 0)
            refined = stored_scales(optimum)
            error = _error(blocks, refined, bits, importance)
            better = error < least
            best, least = np.where(better, refined, best), np.where(better, error, least)
    return _grid(best, bits)


def _rounded(blocks: Floats, bits: int) -> Halves:
    return stored_scales(-_extreme(blocks) / (1 << (bits - 1)))


def _grid(scales: Halves, bits: int) -> Grid:
    zeros = np.full(len(scales), 1 << (bits - 1), dtype=np.float32)
    return Grid((1 << bits) - 1, scales, zeros)


def _levels(blocks: Floats, scales: Halves, bits: int) -> Floats:
    """`Grid.levels` without the zero points: a third of the time of a search."""
    wide = scales.astype(np.float32)
    inverse = np.divide(1.0, wide, out=np.zeros_like(wide), where=wide != 0)
    levels = blocks * inverse[:, None]
    np.rint(levels, out=levels)
    half = 1 << (bits - 1)
    return np.clip(levels, -half, half - 1, out=levels)


def _error(blocks: Floats, scales: Halves, bits: int, importance: Floats | None) -> Floats:
    """`Grid.error`, likewise."""
    residual = _levels(blocks, scales, bits)
    residual *= scales.astype(np.float32)[:, None]
    residual -= blocks
    if importance is None:
        return np.einsum("ij,ij->i", residual, residual)
    return np.einsum("ij,ij,ij->i", residual, residual, importance)


def _extreme(blocks: Floats) -> Floats:
    """The signed weight of largest magnitude of each block."""
    index = np.abs(blocks).argmax(axis=1)
    return blocks[np.arange(len(blocks)), index]
