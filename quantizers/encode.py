"""One matrix and one rule -> encoded weights. All quantization policy ends here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.blocks import quantize_blocks
from flowvox.quantizers.bnb import quantize_nf4
from flowvox.quantizers.weights import FloatWeights, MatrixWeights
from flowvox.recipe import Rule

BITS = {"int8": 8, "int4": 4}


def encode_matrix(weights: NDArray[np.float32], rule: Rule) -> MatrixWeights:
    """weights: float32 [out, in], rows are output channels."""
    if rule.format in BITS:
        return quantize_blocks(weights, BITS[rule.format], rule.block, rule.method)
    if rule.format == "nf4":
        return quantize_nf4(weights, rule.block)
    return FloatWeights.stored(weights, half=rule.format == "float16")


def stored_bytes(size: int, rule: Rule) -> int:
    """Bytes that a tensor of `size` values takes under the rule (block padding aside)."""
    if rule.format in BITS:
        return size * BITS[rule.format] // 8 + 2 * -(-size // rule.block)
    if rule.format == "nf4":
        return size // 2 + 4 * -(-size // rule.block)
    return size * (2 if rule.format == "float16" else 4)
