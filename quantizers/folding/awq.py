"""AWQ: inputs that are large on average get finer levels, by a scale that their neighbour takes back.

Lin et al. 2023 (arXiv:2306.00978): columns of W are multiplied by s_j = (mean x_j^2)^(a/2) before they
are rounded, and whatever makes x divides by s_j. a is the one of a grid with the least error of the
outputs, ||X (W - Q(W s) / s)^T||, here by the Hessian of the inputs and on a sample of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flowvox.quantizers.blocks import Floats
from flowvox.quantizers.folding.joints import Joint
from flowvox.quantizers.statistics import InputStatistics

EXPONENTS = tuple(i / 10 for i in range(11))
ROWS = 256  # of each matrix that are tried
RANGE = 1e4  # largest ratio of two scales


@dataclass(frozen=True)
class Taker:
    """weights [rows, columns], the statistics of their inputs, and what rounding makes of weights."""

    weights: Floats
    statistics: InputStatistics
    rounded: Callable[[Floats], Floats]


def awq_scales(takers: list[Taker], joint: Joint) -> Floats:
    """Scales [columns / sharing] for matrices that share their inputs; ones where none is better."""
    samples = [taker.weights[:: max(1, len(taker.weights) // ROWS)][:ROWS] for taker in takers]
    hessians = [taker.statistics.hessian() for taker in takers]
    power = joint.shared(np.mean([t.statistics.importance() for t in takers], axis=0))
    best, least = np.ones_like(power), np.inf
    for exponent in EXPONENTS:
        scales = centred(np.power(power, np.float32(exponent / 2)))
        columns, loss = joint.spread(scales), 0.0
        for taker, sample, hessian in zip(takers, samples, hessians, strict=True):
            error = taker.rounded(sample * columns) / columns - sample
            loss += len(taker.weights) / len(sample) * np.vdot(error @ hessian, error)
        if loss < least:
            best, least = scales, loss
    return best


def centred(scales: Floats) -> Floats:
    """The same ratios around 1, none more than RANGE apart."""
    scales = scales / np.sqrt(scales.max() * scales.min())
    return np.clip(scales, RANGE**-0.5, RANGE**0.5).astype(np.float32)
