"""Blocks of 32 with one float16 scale d (and, for *_1, a minimum m), rounded to nearest.

    Q4_0, Q5_0   w = d (q - 2^(b-1))   the weight of largest magnitude maps to q = 0
    Q4_1, Q5_1   w = d q + m           from the smallest weight to the largest
    Q8_0         w = d q               q in [-127, 127]

Bytes: d, m, the fifth bits of all 32 weights, then nibbles: weight i low and i + 16 high in byte i.
The formulas are those of gguf-py, float32 operation by operation, so the bytes are equal.
"""

from __future__ import annotations

import numpy as np

from flowvox.quantizers.ggml.formats import BlockFormat, Bytes, Floats, half, half_bytes, inverse

BLOCK = 32


class Q8_0(BlockFormat):  # noqa: N801 - ggml's own names
    name, type_id, weights, size = "q8_0", 8, BLOCK, 34

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        d = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
        levels = blocks * inverse(d)
        whole = np.trunc(levels)
        levels -= whole
        whole += np.trunc(levels * 2)  # halves away from zero, as C's roundf
        return np.concatenate([half_bytes(d), whole.astype(np.int8).view(np.uint8)], axis=1)

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        return half(data[:, :2]) * data[:, 2:].view(np.int8).astype(np.float32)


class Q4_0(BlockFormat):  # noqa: N801
    name, type_id, weights, size = "q4_0", 2, BLOCK, 18

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        d, levels = _symmetric(blocks, 8)
        return np.concatenate([half_bytes(d), _nibbles(levels)], axis=1)

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        return half(data[:, :2]) * (_from_nibbles(data[:, 2:]).astype(np.float32) - 8)


class Q4_1(BlockFormat):  # noqa: N801
    name, type_id, weights, size = "q4_1", 3, BLOCK, 20

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        d, m, levels = _affine(blocks, 15)
        return np.concatenate([half_bytes(d), half_bytes(m), _nibbles(levels)], axis=1)

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        levels = _from_nibbles(data[:, 4:]).astype(np.float32)
        return half(data[:, :2]) * levels + half(data[:, 2:4])


class Q5_0(BlockFormat):  # noqa: N801
    name, type_id, weights, size = "q5_0", 6, BLOCK, 22

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        d, levels = _symmetric(blocks, 16)
        return np.concatenate(
            [half_bytes(d), _fifth_bits(levels), _nibbles(levels & np.uint8(15))], axis=1
        )

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        return half(data[:, :2]) * (_five_bits(data[:, 2:]).astype(np.float32) - 16)


class Q5_1(BlockFormat):  # noqa: N801
    name, type_id, weights, size = "q5_1", 7, BLOCK, 24

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        d, m, levels = _affine(blocks, 31)
        parts = [half_bytes(d), half_bytes(m), _fifth_bits(levels), _nibbles(levels & np.uint8(15))]
        return np.concatenate(parts, axis=1)

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        levels = _five_bits(data[:, 4:]).astype(np.float32)
        return half(data[:, :2]) * levels + half(data[:, 2:4])


def _symmetric(blocks: Floats, centre: int) -> tuple[Floats, Bytes]:
    """(d [n, 1], levels [n, 32] in 0 ... 2 centre - 1)."""
    index = np.abs(blocks).argmax(axis=1)[:, None]
    d = np.take_along_axis(blocks, index, axis=1) / np.float32(-centre)
    levels = blocks * inverse(d)
    levels += np.float32(centre + 0.5)
    return d, np.minimum(levels.astype(np.uint8), np.uint8(2 * centre - 1))


def _affine(blocks: Floats, top: int) -> tuple[Floats, Floats, Bytes]:
    """(d [n, 1], m [n, 1], levels [n, 32] in 0 ... top)."""
    m = blocks.min(axis=1, keepdims=True)
    d = (blocks.max(axis=1, keepdims=True) - m) / np.float32(top)
    levels = (blocks - m) * inverse(d)
    levels += np.float32(0.5)
    return d, m, np.minimum(levels.astype(np.uint8), np.uint8(top))


def _nibbles(levels: Bytes) -> Bytes:
    """[n, 32] in 0 ... 15 -> [n, 16]."""
    return levels[:, :16] | (levels[:, 16:] << np.uint8(4))


def _from_nibbles(data: Bytes) -> Bytes:
    return np.concatenate([data & np.uint8(15), data >> np.uint8(4)], axis=1)


def _fifth_bits(levels: Bytes) -> Bytes:
    """Bit 4 of [n, 32] levels -> [n, 4]."""
    return np.packbits(levels >> np.uint8(4), axis=1, bitorder="little")


def _five_bits(data: Bytes) -> Bytes:
    """Fifth bits [n, 4] and nibbles [n, 16] -> levels [n, 32]."""
    upper = np.unpackbits(np.ascontiguousarray(data[:, :4]), axis=1, bitorder="little")
    return _from_nibbles(data[:, 4:]) | (upper << np.uint8(4))
