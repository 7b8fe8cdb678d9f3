"""A KV cache in 8 bits: a step for every channel of a head, with room for louder speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Values so much larger than those seen still fit; beyond, they are clipped.
HEADROOM = 2.5
TOP = 127


def cache_steps(largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """The step of each channel from its largest magnitude, of keys that of the rotated pair."""
    seen = np.where(largest > 0, largest, np.float32(1))
    steps: NDArray[np.float32] = (seen * np.float32(HEADROOM / TOP)).astype(np.float32)
    return steps


def pair_magnitudes(keys: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of keys [..., channels] those of the pairs (2j, 2j+1) that RoPE turns, for both channels."""
    pairs = keys.reshape(*keys.shape[:-1], -1, 2)
    norms: NDArray[np.float32] = np.sqrt(np.square(pairs).sum(axis=-1))
    return np.repeat(norms, 2, axis=-1)
