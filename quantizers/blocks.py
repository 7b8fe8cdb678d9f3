"""Integer blocks of MatMulNBits: weights w ~ s (q - z) with q in 0 ... 2^b - 1.

s is a float16 per block, of either sign. Symmetric blocks have z = 2^(b-1), asymmetric ones a whole
number z of their own. Both, s and z, make the grid of a block; how one is found is the business of
`symmetric`, `affine` and `hqq`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """For n blocks with levels 0 ... top: scales [n] as they are stored, zeros: whole numbers [n]."""

    top: int
    scales: NDArray[np.float16] | Floats
    zeros: Floats

    def levels(self, blocks: Floats) -> Floats:
        """The nearest levels q of blocks [n, block], as floats; z where the scale is 0."""
        wide = self.scales.astype(np.float32)
        inverse = np.divide(1.0, wide, out=np.zeros_like(wide), where=wide != 0)
        levels = blocks * inverse[:, None]
        levels += self.zeros[:, None]
        np.rint(levels, out=levels)
        return np.clip(levels, 0, self.top, out=levels)

    def values(self, levels: Floats) -> Floats:
        """What levels [n, block] stand for."""
        values = levels - self.zeros[:, None]
        values *= self.scales.astype(np.float32)[:, None]
        return values

    def error(self, blocks: Floats, importance: Floats | None = None) -> Floats:
        """Sum over each block of importance (w - s (q - z))^2: [n]."""
        residual = self.values(self.levels(blocks))
        residual -= blocks
        if importance is None:
            return np.einsum("ij,ij->i", residual, residual)
        return np.einsum("ij,ij,ij->i", residual, residual, importance)

    def where(self, chosen: NDArray[np.bool_], other: Grid) -> Grid:
        """This grid for the blocks that are chosen, the other one for the rest."""
        scales = np.where(chosen, self.scales, other.scales)
        return Grid(self.top, scales, np.where(chosen, self.zeros, other.zeros))


def stored_scales(scales: NDArray[np.floating]) -> NDArray[np.float16]:
    """Scales as they are stored; a scale too small for float16 becomes its smallest number."""
    half = scales.astype(np.float16)
    tiny = np.float16(6e-8)
    return np.where((half == 0) & (scales != 0), np.copysign(tiny, scales), half).astype(np.float16)


def cut(weights: Floats, block: int) -> Floats:
    """[rows, columns] -> blocks [rows * count, block], the last of a row padded with zeros."""
    padding = -weights.shape[1] % block
    if padding:
        weights = np.pad(weights, ((0, 0), (0, padding)))
    return weights.reshape(-1, block)


def pack(levels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """[n, m] levels, m a multiple of 8 / bits: so many a byte, the first in the lowest bits."""
    together = 8 // bits
    packed = levels[:, 0::together].copy()
    for i in range(1, together):
        packed |= levels[:, i::together] << (i * bits)
    return packed


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The levels of `pack`, along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    levels = packed[..., None] >> shifts & np.uint8((1 << bits) - 1)
    return levels.reshape(*packed.shape[:-1], -1)
