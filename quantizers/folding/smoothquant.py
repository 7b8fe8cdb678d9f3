"""SmoothQuant: large activations are made smaller and their weights larger, for 8-bit activations.

Xiao et al. 2022 (arXiv:2211.10438), equation 4: s_j = max |x_j|^a / max |W_j|^(1 - a), here a = 0.5.
Activations are divided by s_j, by the neighbour that makes them; columns of W are multiplied.
"""

from __future__ import annotations

import numpy as np

from flowvox.quantizers.blocks import Floats
from flowvox.quantizers.folding.awq import Taker, centred
from flowvox.quantizers.folding.joints import Joint

STRENGTH = 0.5


def smooth_scales(takers: list[Taker], joint: Joint) -> Floats:
    """What the columns of the weights are multiplied with: [columns / sharing]."""
    activations = np.max([joint.shared(t.statistics.maximum) for t in takers], axis=0)
    weights = np.max([joint.shared(np.abs(t.weights).max(axis=0)) for t in takers], axis=0)
    floor = max(float(activations.max()) * 1e-4, 1e-20), max(float(weights.max()) * 1e-4, 1e-20)
    activations, weights = np.maximum(activations, floor[0]), np.maximum(weights, floor[1])
    return centred(activations**STRENGTH / weights ** (1 - STRENGTH))
