"""One symmetric scale per output channel, for products of signed bytes with unsigned activations.

Weights w ~ s * q with q in [-64, 64]: on x86 without VNNI the kernel adds two products of bytes in
16 bits, which saturate where weights use all of their byte; 2 * 255 * 64 still fits. (Unsigned weights
could use all of it, but at 6 rows their kernel took 1.25 to 1.35 times as long: onnxruntime 1.32,
Zen 3.) Two ways to find s per channel, as in `blocks`: "round" maps the largest weight to 64 levels;
"search" takes the s of least squared error among clipped candidates, each refined by
s = <w, q> / <q, q>. "gptq" takes the scales of "search", and its levels make up for each other's
errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.blocks import Grid
from flowvox.quantizers.gptq import gptq
from flowvox.quantizers.statistics import InputStatistics
from flowvox.quantizers.weights import ChannelWeights

LARGEST = 64
# Where clipping puts the end of the range, as a part of the largest weight. With N weights a
# channel the best place is near 1 - N / (12 * 64^2): a clipped weight pays for what all others gain.
SEARCH_GRID = (0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
SMALLEST = 1e-30  # scales below are those of zeros
WEIGHTS_AT_ONCE = 1 << 20  # so many have temporaries at a time
COLUMNS_AT_ONCE = 128

Floats = NDArray[np.float32]


def quantize_channels(
    weights: Floats, method: str, statistics: InputStatistics | None = None
) -> ChannelWeights:
    """weights [channels, inputs] -> levels and a float32 scale per channel."""
    levels = np.empty(weights.shape, dtype=np.int8)
    scales = np.empty(len(weights), dtype=np.float32)
    step = max(1, WEIGHTS_AT_ONCE // weights.shape[1])
    for start in range(0, len(weights), step):
        part = weights[start : start + step]
        found = round_scales(part) if method == "round" else search_scales(part)
        levels[start : start + step] = round_to(part, found)
        scales[start : start + step] = found
    if method == "gptq":
        assert statistics is not None
        levels = _gptq_levels(weights, scales, statistics.feedback())
    return ChannelWeights(levels, scales)


def _gptq_levels(weights: Floats, scales: Floats, feedback: Floats) -> NDArray[np.int8]:
    """Levels [channels, inputs] on the grid of the scales, COLUMNS_AT_ONCE products at a time."""
    grid = Grid(2 * LARGEST, scales, np.full(len(scales), LARGEST, dtype=np.float32))
    _, levels = gptq(weights, feedback, COLUMNS_AT_ONCE, lambda blocks, where: grid)
    whole = levels.reshape(len(weights), -1)[:, : weights.shape[1]] - LARGEST
    found: NDArray[np.int8] = whole.astype(np.int8)
    return found


def round_scales(weights: Floats) -> Floats:
    """Scale per channel that maps its weight of largest magnitude to level 64 or -64."""
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
    """The nearest levels, as floats in [-64, 64]; 0 where the scale is (nearly) 0."""
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
