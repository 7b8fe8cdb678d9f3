"""ggml's blocks as onnxruntime's, where both mean the same numbers: nothing is rounded again.

    Q4_0   w = d (q - 8)     MatMulNBits 4 bit, block 32
    Q8_0   w = d q           MatMulNBits 8 bit, block 32
    Q6_K   w = (d s) q       MatMulNBits 8 bit, block 16, with d s as float32

Others have minima, which onnxruntime only knows as zero points: whole numbers, or slow as floats.
"""

from __future__ import annotations

import numpy as np

from flowvox.quantizers.ggml import q6_k
from flowvox.quantizers.ggml.formats import Bytes
from flowvox.quantizers.weights import BlockWeights
from flowvox.recipe import Rule

SAME = {"q4_0": ("int4", 32), "q8_0": ("int8", 32), "q6_k": ("int8", 16)}


def repacks(form: str, rule: Rule) -> bool:
    """Whether `repack` gives what the rule asks for."""
    return SAME.get(form) == (rule.format, rule.block)


def repack(form: str, data: Bytes) -> BlockWeights:
    """uint8 [rows, bytes of a row] in a format of SAME -> the same weights."""
    rows = len(data)
    if form == "q6_k":
        slopes, levels = q6_k.unpack(np.ascontiguousarray(data).reshape(-1, q6_k.Q6_K.size))
        packed = (levels + np.uint8(128 - q6_k.CENTRE)).reshape(rows, -1, q6_k.GROUP)
        columns = packed.shape[1] * q6_k.GROUP
        return BlockWeights(8, q6_k.GROUP, columns, packed, slopes.reshape(rows, -1))
    blocks = np.ascontiguousarray(data).reshape(rows, -1, 18 if form == "q4_0" else 34)
    scales = np.ascontiguousarray(blocks[:, :, :2]).view(np.float16)[:, :, 0]
    levels = blocks[:, :, 2:]
    columns = blocks.shape[1] * 32
    if form == "q8_0":
        return BlockWeights(8, 32, columns, levels ^ np.uint8(128), scales)
    # ggml pairs weight i with i + 16, onnxruntime with its neighbour.
    low, high = levels & np.uint8(15), levels >> np.uint8(4)
    first = np.concatenate([low[:, :, 0::2], high[:, :, 0::2]], axis=2)
    second = np.concatenate([low[:, :, 1::2], high[:, :, 1::2]], axis=2)
    return BlockWeights(4, 32, columns, first | (second << np.uint8(4)), scales)
