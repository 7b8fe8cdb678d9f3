"""GPTQ: each column is rounded after it has taken over the errors of the columns before it.

Frantar et al. 2023 (arXiv:2210.17323), columns in their own order. Written as LDLQ (Chee et al. 2023,
arXiv:2307.13304, theorem 6: the same roundings): with the Hessian H = (I + N) D (I + N)^T, N strictly
upper triangular, column k is rounded from w_k + sum over i < k of (w_i - q_i) N_ik. That takes one
Cholesky factor and no inverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.blocks import Floats, Grid

DAMPING = 0.01  # of the mean of the diagonal, added to it
Hessian = TypeVar("Hessian", NDArray[np.float32], NDArray[np.float64])
Find = Callable[[Floats, slice], Grid]


def damped(hessian: Hessian) -> Hessian:
    """In place, a little more on its diagonal: for inputs that calibration saw too rarely, or never."""
    places = np.arange(len(hessian))
    hessian[places, places] += DAMPING * max(float(np.diagonal(hessian).mean()), 1e-30)
    return hessian


def feedback(hessian: Floats) -> Floats:
    """N [columns, columns] of the damped Hessian. Inputs that were always 0 get and give none."""
    wide = damped(hessian.astype(np.float64))
    lower = np.linalg.cholesky(wide[::-1, ::-1])
    del wide  # 0.7 GB for the down projections of the 4B shape
    diagonal = np.diagonal(lower)[::-1].copy()
    upper = lower.astype(np.float32)[::-1, ::-1]
    return np.triu(upper / diagonal.astype(np.float32), 1)


def gptq(weights: Floats, feedback: Floats, block: int, find: Find) -> tuple[Grid, Floats]:
    """weights [rows, columns] -> (grid, levels [rows * count, block]) as `blocks.cut` orders blocks.

    find: the grid of some blocks [rows, block] that lie in these columns; it is asked block by block,
    for weights that have taken over the errors so far.
    """
    rows, columns = weights.shape
    count = -(-columns // block)
    errors = np.zeros((columns, rows), dtype=np.float32)
    levels = np.zeros((count, block, rows), dtype=np.float32)
    grids: list[Grid] = []
    for number in range(count):
        here = slice(number * block, min((number + 1) * block, columns))
        part = weights.T[here] + feedback[: here.start, here].T @ errors[: here.start]
        padded = np.zeros((block, rows), dtype=np.float32)
        padded[: len(part)] = part
        grid = find(np.ascontiguousarray(padded.T), here)
        scale = grid.scales.astype(np.float32)
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
        inner = feedback[here, here]
        own = errors[here]
        for k in range(len(part)):
            target = part[k] + inner[:k, k] @ own[:k]
            level = np.clip(np.rint(target * inverse + grid.zeros), 0, grid.top)
            levels[number, k] = level
            own[k] = weights[:, here.start + k] - (level - grid.zeros) * scale
        levels[number, len(part) :] = grid.zeros
        grids.append(grid)
    scales: Any = np.stack([grid.scales for grid in grids], axis=1)
    zeros = np.stack([grid.zeros for grid in grids], axis=1)
    whole = Grid(grids[0].top, scales.reshape(-1), zeros.reshape(-1))
    return whole, levels.transpose(2, 0, 1).reshape(-1, block)
