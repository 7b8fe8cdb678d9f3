"""Grids with a zero point of their own: a scale and a whole zero point per block.

"round": the range from the smallest to the largest weight, 0 included, is laid on the levels. "search":
the grid of least (weighted) squared error among ranges cut at either end; each candidate's scale is
refined by the closed-form optimum for its own levels and zero point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.blocks import Floats, Grid, stored_scales

# Shares of the range that candidates keep at the low and at the high end.
SHARES = {2: (1.0, 0.85, 0.7, 0.55, 0.4), 4: (1.06, 0.94, 0.82), 8: (1.0,)}
REFINEMENTS = 2


def round_affine(blocks: Floats, bits: int) -> Grid:
    """The whole range of each block [n, block], widened to hold 0."""
    low, high = _range(blocks)
    return _laid(low, high, bits)


def search_affine(blocks: Floats, bits: int, importance: Floats | None = None) -> Grid:
    """The grid of least squared error, weighted by importance [n, block]; never worse than rounding."""
    low, high = _range(blocks)
    best = _laid(low, high, bits)
    least = best.error(blocks, importance)

    def attempt(grid: Grid) -> None:
        nonlocal best, least
        refined = _refined(blocks, grid, importance)
        error = refined.error(blocks, importance)
        better = error < least
        best, least = refined.where(better, best), np.where(better, error, least)

    for below in SHARES[bits]:
        for above in SHARES[bits]:
            attempt(_laid(np.float32(below) * low, np.float32(above) * high, bits))
    for _ in range(REFINEMENTS):
        attempt(best)
    return best


def _range(blocks: Floats) -> tuple[Floats, Floats]:
    zero = np.float32(0)
    return np.minimum(blocks.min(axis=1), zero), np.maximum(blocks.max(axis=1), zero)


def _laid(low: Floats, high: Floats, bits: int) -> Grid:
    """low ... high on all levels, as exactly as a whole zero point allows."""
    top = (1 << bits) - 1
    scales = stored_scales((high - low) / np.float32(top))
    wide = scales.astype(np.float32)
    inverse = np.divide(1.0, wide, out=np.zeros_like(wide), where=wide > 0)
    return Grid(top, scales, np.clip(np.rint(-low * inverse), 0, top))


def _refined(blocks: Floats, grid: Grid, importance: Floats | None) -> Grid:
    """The scale of least error for the levels that the grid rounds to, its zero points kept."""
    levels = grid.levels(blocks) - grid.zeros[:, None]
    weighted = levels if importance is None else levels * importance
    power = np.einsum("ij,ij->i", weighted, levels)
    match: NDArray[np.float32] = np.einsum("ij,ij->i", weighted, blocks)
    optimum = np.divide(match, power, out=np.zeros_like(match), where=power > 0)
    return Grid(grid.top, stored_scales(optimum), grid.zeros)
