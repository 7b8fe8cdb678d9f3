"""Formats without blocks: float32, float16, bfloat16."""

from __future__ import annotations

import numpy as np

from flowvox.quantizers.ggml.formats import BlockFormat, Bytes, Floats


class F32(BlockFormat):
    name, type_id, weights, size = "float32", 0, 1, 4

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        return blocks.astype("<f4").view(np.uint8)

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        return data.view("<f4").astype(np.float32)


class F16(BlockFormat):
    name, type_id, weights, size = "float16", 1, 1, 2

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        return blocks.astype("<f2").view(np.uint8)

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        return data.view("<f2").astype(np.float32)


class BF16(BlockFormat):
    """The upper half of a float32, rounded half to even; NaN stays a (quiet) NaN."""

    name, type_id, weights, size = "bfloat16", 30, 1, 2

    @staticmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        bits = blocks.view(np.uint32)
        quiet = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x00400000)
        bits = np.where(np.isnan(blocks), quiet, bits)
        bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return (bits >> np.uint32(16)).astype("<u2").view(np.uint8)

    @staticmethod
    def dequantize(data: Bytes) -> Floats:
        return (data.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
