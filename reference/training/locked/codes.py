"""The phase-locked code space, fixed before anything is trained on it.

Acoustic value 0 is the number of pitch periods in the frame, value 1 the share of it that is voiced,
the other 34 are principal components of the envelopes; each is rounded to the codec's 21 levels.
Because the codes are fixed before any training, the parts of the model can be trained at one time.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.locked.features import HARMONIC_BANDS, NOISE_BANDS, SUBFRAMES
from flowvox.reference.training.locked.synth import MIN_CYCLES

LEVELS = 21
# Log amplitudes below these floors carry variance but nothing audible.
FLOORS = np.tile(np.repeat([-3.5, -4.5], [HARMONIC_BANDS, NOISE_BANDS]), SUBFRAMES)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CodeSpace:
    """mean [576], basis [576, 34]: components; scale [34]: 2.8 standard deviations of each."""

    mean: Array
    basis: Array
    scale: Array

    def acoustic(self, envelopes: Array, cycles: NDArray[np.integer], voiced: Array) -> Array:
        """-> continuous acoustic latents [K, 36] in [-1, 1] (before rounding)."""
        pitch = (cycles.astype(np.float32) - (MIN_CYCLES - 1)) / ((LEVELS - 1) / 2) - 1
        components = (np.maximum(envelopes, FLOORS) - self.mean) @ self.basis / self.scale
        parts = [pitch[:, None], 2 * voiced[:, None] - 1, components]
        return np.clip(np.concatenate(parts, axis=1), -1, 1).astype(np.float32)

    @classmethod
    def load(cls) -> CodeSpace:
        """The committed space, fitted once to 120,000 frames of the corpus."""
        file = resources.files("flowvox.reference.training.locked") / "code_space.npz"
        with file.open("rb") as opened:
            return cls(**dict(np.load(opened)))


def rounded(latents: Array) -> NDArray[np.uint8]:
    """Latents in [-1, 1] -> codes 0..20, half to even."""
    return np.rint((latents + 1) / 2 * (LEVELS - 1)).astype(np.uint8)
