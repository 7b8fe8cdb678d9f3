"""Noise as an input: frame t of a generation uses row t of a seeded stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frame_noise(seed: int, max_frames: int, n_acoustic: int) -> NDArray[np.float32]:
    """Standard normal float32 [max_frames, n_acoustic] of numpy's Philox generator.

    Row t does not depend on max_frames, so a longer budget never changes what was said.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.standard_normal((max_frames, n_acoustic), dtype=np.float32)
