"""Q4_K and Q5_K: blocks of 256 in 8 groups of 32, w = (d s) q - (dmin m), q in 0 ... 15 or 0 ... 31.

s and m are 6-bit integers of each group, d and dmin float16 of the block. gguf-py only reads these.
Bytes: d, dmin, twelve of 6-bit numbers, (Q5_K: fifth bits), nibbles. The scales of the groups are
searched one by one, made integers, and then fitted together: given the levels, d and dmin have a
closed-form optimum, and given those, so have s and m.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from flowvox.quantizers.ggml.search import Groups, Sums, search_affine

BLOCK, GROUP = 256, 32
GROUPS = BLOCK // GROUP
LARGEST = 63  # of the 6-bit scales and minima
FITS = 2


@dataclass(frozen=True)
class Scales:
    """d, dmin: float32 [n, 1], float16 numbers; s, m: float32 [n, 8], whole, 0 ... 63."""

    d: Floats
    dmin: Floats
    s: Floats
    m: Floats

    def products(self) -> tuple[Floats, Floats]:
        """(d s, dmin m), [8 n] each, in the order of the groups."""
        return (self.d * self.s).reshape(-1), (self.dmin * self.m).reshape(-1)


class Q4_K(BlockFormat):  # noqa: N801 - ggml's own names
    name, type_id, weights, size = "q4_k", 12, BLOCK, 144

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        scales, levels = _quantize(blocks, importance, 15)
        return np.concatenate([_scale_bytes(scales), _nibbles(levels)], axis=1)

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        return _dequantize(data, _from_nibbles(data[:, 16:]))


class Q5_K(BlockFormat):  # noqa: N801
    name, type_id, weights, size = "q5_k", 13, BLOCK, 176

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        scales, levels = _quantize(blocks, importance, 31)
        # Bit g of byte i is the fifth bit of weight i of group g.
        fifth = np.packbits(levels >> np.uint8(4), axis=1, bitorder="little")[:, 0]
        return np.concatenate(
            [_scale_bytes(scales), fifth, _nibbles(levels & np.uint8(15))], axis=1
        )

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        fifth = np.ascontiguousarray(data[:, None, 16:48])
        upper = np.unpackbits(fifth, axis=1, bitorder="little")
        return _dequantize(data, _from_nibbles(data[:, 48:]) | (upper << np.uint8(4)))


def _quantize(blocks: Floats, importance: Floats | None, top: int) -> tuple[Scales, Bytes]:
    """(scales, levels [n, 8, 32])."""
    groups = Groups(_columns(blocks), None if importance is None else _columns(importance))
    s, m = (found.reshape(-1, GROUPS) for found in search_affine(groups, top))
    d, dmin = (smallest_kept(v.max(axis=1, keepdims=True) / LARGEST) for v in (s, m))
    scales = Scales(d, dmin, _six_bits(s, d), _six_bits(m, dmin))
    _round(groups, scales, top)
    for _ in range(FITS):
        scales = _fit(groups.sums(), scales)
        _round(groups, scales, top)
    levels = groups.q.T.astype(np.uint8)
    return scales, levels.reshape(-1, GROUPS, GROUP)


def _columns(blocks: Floats) -> Floats:
    """[n, 256] -> [32, 8 n]: a group per column."""
    return np.ascontiguousarray(blocks.reshape(-1, GROUP).T)


def _round(groups: Groups, scales: Scales, top: int) -> None:
    slope, minimum = scales.products()
    unit = inverse(slope)
    groups.round(unit, minimum * unit, 0, top)


def _fit(sums: Sums, scales: Scales) -> Scales:
    """Scales of less error for the same levels; d and dmin first, then s, then m."""
    x, q, qx, qq, one = (
        v.reshape(-1, GROUPS) for v in (sums.x, sums.q, sums.qx, sums.qq, sums.one)
    )
    s, m = scales.s, scales.m
    ss, sm, mm, sx, mx = (
        v.sum(axis=1, keepdims=True) for v in (s * s * qq, s * m * q, m * m * one, s * qx, m * x)
    )
    determinant = ss * mm - sm * sm
    regular = determinant > 1e-6 * ss * mm
    unit = inverse(determinant)
    d = np.where(regular, (sx * mm - sm * mx) * unit, sx * inverse(ss))
    dmin = np.where(regular, (sx * sm - ss * mx) * unit, scales.dmin)
    usable = (d > 0) & (dmin >= 0) & (regular | (mm == 0))
    d = smallest_kept(np.where(usable, d, scales.d))
    dmin = smallest_kept(np.where(usable, dmin, scales.dmin))
    fitted = replace(scales, d=d, dmin=dmin)
    fitted = replace(fitted, s=_six_bits((qx + dmin * m * q) * inverse(qq), d))
    return replace(fitted, m=_six_bits((d * fitted.s * q - x) * inverse(one), dmin))


def _six_bits(values: Floats, unit: Floats) -> Floats:
    whole = np.rint(values * inverse(unit))
    return np.clip(whole, np.float32(0), np.float32(LARGEST), out=whole)


def _scale_bytes(scales: Scales) -> Bytes:
    """16 bytes: d, dmin; then s and m: low six bits of the first four of each in a byte of their own,
    whose upper two bits are bits 4 and 5 of the last four; those share bytes for their low four."""
    s, m = scales.s.astype(np.uint8), scales.m.astype(np.uint8)
    first = s[:, :4] | ((s[:, 4:] >> np.uint8(4)) << np.uint8(6))
    second = m[:, :4] | ((m[:, 4:] >> np.uint8(4)) << np.uint8(6))
    third = (s[:, 4:] & np.uint8(15)) | (m[:, 4:] << np.uint8(4))
    parts = [half_bytes(scales.d), half_bytes(scales.dmin), first, second, third]
    return np.concatenate(parts, axis=1)


def _dequantize(data: Bytes, levels: Bytes) -> Floats:
    """data [n, >= 16] and levels [n, 8, 32] -> weights [n, 256]."""
    first, second, third = data[:, 4:8], data[:, 8:12], data[:, 12:16]
    six, four, upper = np.uint8(63), np.uint8(15), np.uint8(0x30)
    s = np.concatenate([first & six, (third & four) | ((first >> np.uint8(2)) & upper)], axis=1)
    m = np.concatenate(
        [second & six, (third >> np.uint8(4)) | ((second >> np.uint8(2)) & upper)], axis=1
    )
    slope = half(data[:, :2]) * s.astype(np.float32)
    minimum = half(data[:, 2:4]) * m.astype(np.float32)
    wide = levels.astype(np.float32)
    wide *= slope[:, :, None]
    wide -= minimum[:, :, None]
    return wide.reshape(-1, BLOCK)


def _nibbles(levels: Bytes) -> Bytes:
    """[n, 8, 32] -> [n, 128]: two groups share 32 bytes, the first in the low nibbles."""
    return (levels[:, 0::2] | (levels[:, 1::2] << np.uint8(4))).reshape(-1, BLOCK // 2)


def _from_nibbles(data: Bytes) -> Bytes:
    pairs = data.reshape(-1, GROUPS // 2, 1, GROUP)
    halves = np.concatenate([pairs & np.uint8(15), pairs >> np.uint8(4)], axis=2)
    return halves.reshape(-1, GROUPS, GROUP)
