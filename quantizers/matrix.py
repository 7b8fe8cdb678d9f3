"""A matrix in integer blocks, by method: first a grid for every block, then levels on it.

    round      the range of the weights                                   symmetric.py, affine.py
    search     least squared error of the weights                         the same
    imatrix    the same, weighted by the mean square of each input        the same
    hqq        few large errors                                           hqq.py
    gptq       columns make up for each other's errors, then descent      gptq.py, descent.py

`imatrix` and `gptq` want the statistics of calibration.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import RecipeError
from flowvox.quantizers.affine import round_affine, search_affine
from flowvox.quantizers.blocks import Floats, Grid, cut, pack
from flowvox.quantizers.descent import descend
from flowvox.quantizers.gptq import damped, gptq
from flowvox.quantizers.hqq import hqq
from flowvox.quantizers.statistics import InputStatistics
from flowvox.quantizers.symmetric import round_symmetric, search_symmetric
from flowvox.quantizers.weights import LARGEST_HALF, BlockWeights

WEIGHTS_AT_ONCE = 1 << 20  # so many have temporaries at a time
GPTQ_AT_ONCE = 1 << 23  # more, because every column is a step that all its rows take together


def quantize_blocks(
    weights: Floats,
    bits: int,
    block: int,
    method: str,
    *,
    symmetric: bool = True,
    statistics: InputStatistics | None = None,
) -> BlockWeights:
    """weights [rows, columns] -> blocks along the columns, for bits 2, 4 or 8.

    Raises RecipeError where a weight is too large for float16 scales.
    """
    if max(weights.max(), -weights.min()) > LARGEST_HALF:
        raise RecipeError("a weight is too large for float16 scales; store this tensor as float32")
    rows, columns = weights.shape
    packed = np.empty((rows, -(-columns // block), block * bits // 8), dtype=np.uint8)
    scales = np.empty(packed.shape[:2], dtype=np.float16)
    zeros = None if symmetric else np.empty(packed.shape[:2], dtype=np.uint8)

    def place(here: slice, grid: Grid, levels: Floats) -> None:
        stored = pack(levels.astype(np.uint8), bits)
        packed[here] = stored.reshape(packed[here].shape)
        scales[here] = grid.scales.reshape(scales[here].shape)
        if zeros is not None:
            zeros[here] = grid.zeros.reshape(zeros[here].shape)

    if method == "gptq":
        assert statistics is not None
        importance = statistics.importance()

        def find(blocks: Floats, where: slice) -> Grid:
            return find_grid(blocks, bits, "imatrix", symmetric, importance[where])

        feedback = statistics.feedback()
        hessian = damped(statistics.hessian())
        for here in _pieces(rows, columns, GPTQ_AT_ONCE):
            grid, levels = gptq(weights[here], feedback, block, find)
            place(here, *descend(weights[here], hessian, grid, levels, block))
    else:
        used = None if method != "imatrix" or statistics is None else statistics.importance()
        for here in _pieces(rows, columns):
            blocks = cut(weights[here], block)
            grid = find_grid(blocks, bits, method, symmetric, used)
            place(here, grid, grid.levels(blocks))
    return BlockWeights(bits, block, columns, packed, scales, zeros)


def find_grid(
    blocks: Floats, bits: int, method: str, symmetric: bool, importance: Floats | None = None
) -> Grid:
    """A grid for each of the blocks [n, block], which lie row by row.

    importance: [columns], of the columns that the blocks of a row cover; the searches heed it.
    """
    if method in {"round", "hqq"}:
        start = (round_symmetric if symmetric else round_affine)(blocks, bits)
        return hqq(blocks, start, symmetric=symmetric) if method == "hqq" else start
    tiled = None
    if importance is not None:
        one = cut(importance[None], blocks.shape[1])
        tiled = np.tile(one, (len(blocks) // len(one), 1))
    return (search_symmetric if symmetric else search_affine)(blocks, bits, tiled)


def quantize_rows(table: Floats) -> tuple[NDArray[np.int8], Floats]:
    """An embedding table [rows, dim] -> (int8 [rows, dim], float32 scale per row)."""
    levels = np.empty(table.shape, dtype=np.int8)
    scales = np.empty(len(table), dtype=np.float32)
    for here in _pieces(*table.shape):
        part = table[here]
        scale = np.abs(part).max(axis=1) / 127
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        levels[here] = np.clip(np.rint(part * inverse[:, None]), -127, 127)
        scales[here] = scale
    return levels, scales


def _pieces(rows: int, columns: int, at_once: int = WEIGHTS_AT_ONCE) -> Iterator[slice]:
    step = max(1, at_once // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
