"""One symmetric 8-bit scale per output channel, for products whose activations are 8-bit, too.

Weights w ~ s * (q - 128) with q in [1, 255]: unsigned with a zero point in the middle, because on
x86 without VNNI the product of unsigned and signed bytes saturates, and that of two unsigned does not.
Two ways to find s per channel, as in `blocks`: "round" maps the largest weight to 127 levels; "search"
takes the s of least squared error among clipped candidates, each refined by s = <w, q> / <q, q>.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.weights import ChannelWeights

LARGEST, MIDDLE = 127, 128
# Where clipping puts the end of the range, as a part of the largest weight. With N weights a
# channel the best place is near 1 - N / (12 * 127^2): a clipped weight pays for what all others gain.
SEARCH_GRID = (0.9, 0.94, 0.97, 0.985, 1.0)
SMALLEST = 1e-30  # scales below are those of zeros
WEIGHTS_AT_ONCE = 1 << 20  # so many have temporaries at a time

Floats = NDArray[np.float32]


def quantize_channels(weights: Floats, method: str) -> ChannelWeights:
    """weights [channels, inputs] -> levels and a float32 scale per channel."""
    levels = np.empty(weights.shape, dtype=np.uint8)
    scales = np.empty(len(weights), dtype=np.float32)
    step = max(1, WEIGHTS_AT_ONCE // weights.shape[1])
    for start in range(0, len(weights), step):
        part = weights[start : start + step]
        found = round_scales(part) if method == "round" else search_scales(part)
        levels[start : start + step] = round_to(part, found) + MIDDLE
        scales[start : start + step] = found
    return ChannelWeights(levels, scales)


def round_scales(weights: Floats) -> Floats:
    """Scale per channel that maps its weight of largest magnitude to level 127 or -127."""
    scales: Floats = np.abs(weights).max(axis=1) / np.float32(LARGEST)
    return scales


def search_scales(weights: Floats) -> Floats:
    """Scale per channel of least squared error; never worse than `round_scales`."""
    rounded = round_scales(weights)
    best, least = rounded, squared_error(weights, rounded)
    for end in SEARCH_GRID:
        levels = round_to(weights, rounded * np.float32(end))
        power = np.einsum("ij,ij->i", levels, levels)
        match = np.einsum("ij,ij->i", levels, weights)
        refined = np.divide(match, power, out=np.zeros_like(match), where=power > 0)
        error = squared_error(weights, refined)
        better = error < least
        best, least = np.where(better, refined, best), np.where(better, error, least)
    return best


def round_to(weights: Floats, scales: Floats) -> Floats:
    """The nearest levels, as floats in [-127, 127]; 0 where the scale is (nearly) 0."""
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > SMALLEST)
    levels = weights * inverse[:, None]
    np.rint(levels, out=levels)
    return np.clip(levels, -LARGEST, LARGEST, out=levels)


def squared_error(weights: Floats, scales: Floats) -> Floats:
    """Sum of (w - s q)^2 per channel."""
    residual = round_to(weights, scales)
    residual *= scales[:, None]
    residual -= weights
    errors: Floats = np.einsum("ij,ij->i", residual, residual)
    return errors
