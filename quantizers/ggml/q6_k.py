"""Q6_K: blocks of 256 in 16 groups of 16, w = (d s) q, q in -32 ... 31, s int8 per group, d float16.

Bytes: low nibbles, upper two bits, s, d. Searched and fitted as in `k_quants`, without minima.
"""

from __future__ import annotations

import numpy as np

from flowvox.quantizers.ggml.formats import (
    BlockFormat,
    Bytes,
    Floats,
    half,
    half_bytes,
    inverse,
    smallest_kept,
)
from flowvox.quantizers.ggml.search import Groups, search_symmetric

BLOCK, GROUP = 256, 16
GROUPS = BLOCK // GROUP
CENTRE = 32
FITS = 1


class Q6_K(BlockFormat):  # noqa: N801 - ggml's own names
    name, type_id, weights, size = "q6_k", 14, BLOCK, 210

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        groups = Groups(_columns(blocks), None if importance is None else _columns(importance))
        found = search_symmetric(groups, CENTRE).reshape(-1, GROUPS)
        largest = np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1)
        d = smallest_kept(largest / np.float32(-128))
        s = _whole(found, d)
        _round(groups, d * s)
        for _ in range(FITS):
            sums = groups.sums()
            qx, qq = sums.qx.reshape(-1, GROUPS), sums.qq.reshape(-1, GROUPS)
            power = (s * s * qq).sum(axis=1, keepdims=True)
            fitted = (s * qx).sum(axis=1, keepdims=True) * inverse(power)
            d = smallest_kept(np.where(power > 0, fitted, d))
            s = _whole(qx * inverse(qq), d)
            _round(groups, d * s)
        levels = (groups.q.T + np.float32(CENTRE)).astype(np.uint8)
        return np.concatenate(
            [*_level_bytes(levels), s.astype(np.int8).view(np.uint8), half_bytes(d)], axis=1
        )

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        slope, levels = unpack(data)
        wide = levels.astype(np.float32)
        wide -= CENTRE
        wide *= slope[:, :, None]
        return wide.reshape(-1, BLOCK)


def unpack(data: Bytes) -> tuple[Floats, Bytes]:
    """uint8 [n, 210] -> (d s [n, 16], levels q + 32 [n, 16, 16])."""
    slope = half(data[:, 208:210]) * data[:, 192:208].view(np.int8).astype(np.float32)
    low = data[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([low & np.uint8(15), low >> np.uint8(4)], axis=2)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    high = (data[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & np.uint8(3)
    levels = low.reshape(-1, 2, 4, 32) | (high << np.uint8(4))
    return slope, levels.reshape(-1, GROUPS, GROUP)


def _level_bytes(levels: Bytes) -> tuple[Bytes, Bytes]:
    """Levels, 256 a block -> (low nibbles [n, 128], upper two bits [n, 64]), per half of a block."""
    quarters = levels.reshape(-1, 2, 4, 32)
    low, high = quarters & np.uint8(15), quarters >> np.uint8(4)
    nibbles = low[:, :, :2] | (low[:, :, 2:] << np.uint8(4))
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    bits = np.bitwise_or.reduce(high << shifts, axis=2)
    return nibbles.reshape(-1, 128), bits.reshape(-1, 64)


def _columns(blocks: Floats) -> Floats:
    """[n, 256] -> [16, 16 n]: a group per column."""
    return np.ascontiguousarray(blocks.reshape(-1, GROUP).T)


def _round(groups: Groups, slopes: Floats) -> None:
    groups.round(inverse(slopes.reshape(-1)), 0.0, -CENTRE, CENTRE - 1)


def _whole(values: Floats, d: Floats) -> Floats:
    whole = np.rint(values * inverse(d))
    return np.clip(whole, np.float32(-128), np.float32(127), out=whole)
