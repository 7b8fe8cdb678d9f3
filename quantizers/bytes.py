"""Weights in bytes that are widened when a graph is loaded: a storage format, as float16 is.

A scale for each index of the first axis: output channels of a matrix, and of a convolution whichever
axis stands first. w ~ s * q with q in [-127, 127]; s is that of least squared error for the levels that
the largest weight gives, s = <w, q> / <q, q>.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.weights import ByteWeights

LARGEST = 127
SMALLEST = 1e-30  # scales below are those of zeros


def quantize_bytes(weights: NDArray[np.float32]) -> ByteWeights:
    """weights [n, ...] -> levels and n scales."""
    rows = weights.reshape(len(weights), -1)
    steps = np.abs(rows).max(axis=1, initial=0) / np.float32(LARGEST)
    inverse = np.divide(1.0, steps, out=np.zeros_like(steps), where=steps > SMALLEST)
    levels = np.rint(rows * inverse[:, None])
    power = np.einsum("ij,ij->i", levels, levels)
    match = np.einsum("ij,ij->i", levels, rows)
    scales: NDArray[np.float32] = np.divide(match, power, out=np.zeros_like(match), where=power > 0)
    return ByteWeights(levels.astype(np.int8).reshape(weights.shape), scales)
