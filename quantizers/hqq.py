"""HQQ: a grid that makes few large errors rather than a small mean one.

Badri and Shaji 2023, "Half-Quadratic Quantization" (mobiusml.github.io/hqq_blog): the p-norm of the
error, p < 1, is minimized by half-quadratic splitting: a generalized soft threshold takes the outliers
out of the errors, and what is left is fitted in closed form. There the zero point is a float and is
fitted alone; MatMulNBits is fast with whole zero points only, so here it is rounded, and the scale is
fitted, too.
"""

from __future__ import annotations

import numpy as np

from flowvox.quantizers.blocks import Floats, Grid, stored_scales

NORM, BETA, GROWTH, ITERATIONS = 0.7, 10.0, 1.01, 20


def hqq(blocks: Floats, start: Grid, *, symmetric: bool) -> Grid:
    """From `start` on, blocks [n, block]; never of a larger squared error than `start`."""
    unit = np.abs(blocks).max(axis=1, keepdims=True)
    unit = np.where(unit > 0, unit, np.float32(1))
    scaled = blocks / unit
    grid, beta = start, BETA
    best, least = start, start.error(blocks)
    for _ in range(ITERATIONS):
        levels = grid.levels(blocks)
        error = (blocks - grid.values(levels)) / unit
        outlying = _shrunk(error, beta)
        grid = _fitted((scaled - outlying) * unit, levels, grid, symmetric)
        beta *= GROWTH
        now = grid.error(blocks)
        better = now < least
        best, least = grid.where(better, best), np.where(better, now, least)
    return best


def _shrunk(x: Floats, beta: float) -> Floats:
    """sign(x) max(0, |x| - |x|^(p-1) / beta): the proximal step of the p-norm."""
    size = np.abs(x)
    with np.errstate(divide="ignore"):
        threshold = np.power(size, np.float32(NORM - 1)) / np.float32(beta)
    return np.sign(x) * np.maximum(size - threshold, np.float32(0))


def _fitted(target: Floats, levels: Floats, grid: Grid, symmetric: bool) -> Grid:
    """The grid of least squared error between target and levels."""
    zeros = grid.zeros
    if not symmetric:
        scale = grid.scales.astype(np.float32)
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
        found = levels.mean(axis=1) - target.mean(axis=1) * inverse
        zeros = np.clip(np.rint(found), 0, grid.top)
    centred = levels - zeros[:, None]
    power = np.einsum("ij,ij->i", centred, centred)
    match = np.einsum("ij,ij->i", centred, target)
    scales = np.divide(match, power, out=np.zeros_like(match), where=power > 0)
    return Grid(grid.top, stored_scales(scales), zeros)
