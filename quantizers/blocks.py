"""Symmetric integer blocks: weights w ~ s * q with q in [-2^(b-1), 2^(b-1) - 1] and a float16 s.

Two ways to find s per block. "round": the largest weight maps to the end of the range. "search":
the s of least squared error among a grid of candidates, each refined by the closed-form optimum
s = <w, q> / <q, q> for its own rounding q.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import RecipeError
from flowvox.quantizers.weights import LARGEST_HALF, BlockWeights

# Candidate positions of the largest weight on the grid, in units of the largest level. Above 1 the
# largest weight is clipped, which pays where it is an outlier.
SEARCH_GRID = {4: (0.78, 0.86, 0.93, 1.0, 1.07, 1.15), 8: (0.97, 1.0)}
WEIGHTS_AT_ONCE = 1 << 20  # so many have temporaries at a time

Blocks = NDArray[np.float32]


def quantize_blocks(
    weights: NDArray[np.float32], bits: int, block: int, method: str
) -> BlockWeights:
    """weights [rows, columns] -> blocks along the columns, for bits 4 or 8. Raises RecipeError."""
    if max(weights.max(), -weights.min()) > LARGEST_HALF:
        raise RecipeError("a weight is too large for float16 scales; store this tensor as float32")
    rows, columns = weights.shape
    count = -(-columns // block)
    packed = np.empty((rows, count, block * bits // 8), dtype=np.uint8)
    scales = np.empty((rows, count), dtype=np.float16)
    step = max(1, WEIGHTS_AT_ONCE // (count * block))
    for start in range(0, rows, step):
        part = weights[start : start + step]
        padded = np.pad(part, ((0, 0), (0, count * block - columns)))
        blocks = padded.reshape(-1, block)
        found = round_scales(blocks, bits) if method == "round" else search_scales(blocks, bits)
        levels = round_to(blocks, found, bits) + (1 << (bits - 1))
        packed[start : start + step] = _pack(levels.astype(np.uint8), bits).reshape(
            len(part), count, -1
        )
        scales[start : start + step] = found.reshape(len(part), count)
    return BlockWeights(bits, block, columns, packed, scales)


def round_scales(blocks: Blocks, bits: int) -> NDArray[np.float16]:
    """Scale per block that maps the weight of largest magnitude to level -2^(b-1)."""
    return _stored(-_extreme(blocks) / (1 << (bits - 1)))


def search_scales(blocks: Blocks, bits: int) -> NDArray[np.float16]:
    """Scale per block of least squared error; never worse than `round_scales`."""
    best = round_scales(blocks, bits)
    least = squared_error(blocks, best, bits)
    extreme = _extreme(blocks)
    for sign in (-1, 1):
        largest = (1 << (bits - 1)) - (sign == 1)
        for position in SEARCH_GRID[bits]:
            candidate = _stored(sign * extreme / (largest * position))
            levels = round_to(blocks, candidate, bits)
            power = np.einsum("ij,ij->i", levels, levels)
            match = np.einsum("ij,ij->i", levels, blocks)
            optimum = np.divide(match, power, out=np.zeros_like(match), where=power > 0)
            refined = _stored(optimum)
            error = squared_error(blocks, refined, bits)
            better = error < least
            best = np.where(better, refined, best)
            least = np.where(better, error, least)
    return best


def round_to(blocks: Blocks, scales: NDArray[np.float16], bits: int) -> Blocks:
    """The nearest levels, as floats; 0 where the scale is 0."""
    wide = scales.astype(np.float32)
    inverse = np.divide(1.0, wide, out=np.zeros_like(wide), where=wide != 0)
    levels = blocks * inverse[:, None]
    np.rint(levels, out=levels)
    half = 1 << (bits - 1)
    return np.clip(levels, -half, half - 1, out=levels)


def squared_error(blocks: Blocks, scales: NDArray[np.float16], bits: int) -> NDArray[np.float32]:
    """Sum of (w - s q)^2 per block."""
    residual = round_to(blocks, scales, bits)
    residual *= scales.astype(np.float32)[:, None]
    residual -= blocks
    return np.einsum("ij,ij->i", residual, residual)


def quantize_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """An embedding table [rows, dim] -> (int8 [rows, dim], float32 scale per row)."""
    levels = np.empty(table.shape, dtype=np.int8)
    scales = np.empty(len(table), dtype=np.float32)
    step = max(1, WEIGHTS_AT_ONCE // table.shape[1])
    for start in range(0, len(table), step):
        part = table[start : start + step]
        scale = np.abs(part).max(axis=1) / 127
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        levels[start : start + step] = np.clip(np.rint(part * inverse[:, None]), -127, 127)
        scales[start : start + step] = scale
    return levels, scales


def _extreme(blocks: Blocks) -> NDArray[np.float32]:
    """The signed weight of largest magnitude of each block."""
    index = np.abs(blocks).argmax(axis=1)
    return blocks[np.arange(len(blocks)), index]


def _stored(scales: NDArray[np.floating]) -> NDArray[np.float16]:
    """Scales as they are stored; a scale too small for float16 becomes its smallest number."""
    half = scales.astype(np.float16)
    tiny = np.float16(6e-8)
    return np.where((half == 0) & (scales != 0), np.copysign(tiny, scales), half).astype(np.float16)


def _pack(levels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Two 4-bit levels a byte, the first in the low nibble; 8-bit levels as they are."""
    if bits == 8:
        return levels
    return (levels[:, 0::2] | (levels[:, 1::2] << 4)).astype(np.uint8)
