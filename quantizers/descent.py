"""Coordinate descent on the error of a matrix's outputs, from a solution that is good already.

With E = Wq - W and the Hessian H of the inputs the error is tr(E H E^T), a quadratic in every scale and
in every weight. Block by block each row's scale takes its optimum, then each column the levels nearest
to its own, given all others (QuantEase, Behdin et al. 2023, arXiv:2309.01885; CDQuant, Nair and Suggala
2024, arXiv:2406.17542). No step makes the error larger.
"""

from __future__ import annotations

import numpy as np

from flowvox.quantizers.blocks import Floats, Grid, stored_scales

SWEEPS = 3


def descend(
    weights: Floats, hessian: Floats, grid: Grid, levels: Floats, block: int
) -> tuple[Grid, Floats]:
    """Better (grid, levels) for weights [rows, columns]; blocks as `blocks.cut` orders them.

    hessian: damped, so that no diagonal element is 0.
    """
    rows, columns = weights.shape
    count = -(-columns // block)
    scales = grid.scales.astype(np.float32).reshape(rows, count)
    zeros = grid.zeros.reshape(rows, count)
    found = levels.reshape(rows, count * block)
    error: Floats = grid.values(levels).reshape(rows, -1)[:, :columns] - weights
    for _ in range(SWEEPS):
        for number in range(count):
            here = slice(number * block, min((number + 1) * block, columns))
            inner = hessian[here, here]
            gradient: Floats = error @ hessian[:, here]
            zero, scale = zeros[:, number : number + 1], scales[:, number : number + 1]
            level = found[:, here]
            scale += _scale_step(level - zero, scale, gradient, inner)
            changed = (level - zero) * scale - weights[:, here] - error[:, here]
            gradient += changed @ inner
            error[:, here] += changed
            _round_again(
                weights[:, here], error[:, here], level, gradient, inner, scale, zero, grid.top
            )
    better = Grid(grid.top, stored_scales(scales).reshape(-1), grid.zeros)
    return better, found.reshape(-1, block)


def _scale_step(direction: Floats, scale: Floats, gradient: Floats, inner: Floats) -> Floats:
    """What to add to each row's scale [rows, 1] so that it is a float16: 0 where that does not pay."""
    power = np.einsum("ij,ij->i", direction @ inner, direction)[:, None]
    slope = np.einsum("ij,ij->i", gradient, direction)[:, None]
    wanted = scale - np.divide(slope, power, out=np.zeros_like(slope), where=power > 0)
    step = stored_scales(wanted).astype(np.float32) - scale
    gain = step * (step * power + 2 * slope)
    keep = (gain < 0) & (wanted * scale > 0)
    return np.where(keep, step, np.float32(0))


def _round_again(
    weights: Floats,
    error: Floats,
    level: Floats,
    gradient: Floats,
    inner: Floats,
    scale: Floats,
    zero: Floats,
    top: int,
) -> None:
    """Columns one by one: `error`, `level` and `gradient` of the block change in place."""
    scale, zero = scale[:, 0], zero[:, 0]
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    for k in range(error.shape[1]):
        optimum = weights[:, k] + error[:, k] - gradient[:, k] / inner[k, k]
        new = np.clip(np.rint(optimum * inverse + zero), 0, top)
        step = (new - level[:, k]) * scale
        level[:, k] = new
        error[:, k] += step
        gradient += step[:, None] * inner[k]
