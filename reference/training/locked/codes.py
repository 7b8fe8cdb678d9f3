"""The phase-locked code space, fixed before anything is trained on it.

Acoustic value 0 is the number of pitch periods in the frame, value 1 the F0 slope, the other 34 are
principal components of the envelopes; each is rounded to the codec's 21 levels. Because the codes are
fixed before any training, the parts of the model can be trained at the same time.

The semantic code is the nearest of 512 centroids in a phonetic space: a linear discriminant analysis
of two frames of components against the teacher's phoneme, then k-means.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.locked.features import HARMONIC_BANDS, NOISE_BANDS, SUBFRAMES
from flowvox.reference.training.locked.synth import MIN_CYCLES

COMPONENTS = 34
LEVELS = 21
CLIP_DEVIATIONS = 2.8  # a component's range, in standard deviations
SLOPE_RANGE = 0.12  # relative F0 change between the halves of a frame
SEMANTIC_SCALE = 0.25  # brings the phonetic vectors to the size of the acoustic values
# Log amplitudes below these floors carry variance but nothing audible.
FLOORS = np.tile(np.repeat([-3.5, -4.5], [HARMONIC_BANDS, NOISE_BANDS]), SUBFRAMES)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CodeSpace:
    """mean, basis [576, 34], scale [34]: components; phonetic [68, 32] + offset: LDA; centroids."""

    mean: Array
    basis: Array
    scale: Array
    phonetic_mean: Array
    phonetic: Array
    centroids: Array

    def components(self, envelopes: Array) -> Array:
        """[K, 576] -> [K, 34], scaled so that most values lie in [-1, 1]."""
        audible = np.maximum(envelopes, FLOORS)
        return np.asarray((audible - self.mean) @ self.basis / self.scale, dtype=np.float32)

    def acoustic(self, envelopes: Array, cycles: NDArray[np.uint8], slope: Array) -> Array:
        """-> continuous acoustic latents [K, 36] in [-1, 1] (before rounding)."""
        pitch = (cycles.astype(np.float32) - (MIN_CYCLES - 1)) / ((LEVELS - 1) / 2) - 1
        parts = [pitch[:, None], slope[:, None] / SLOPE_RANGE, self.components(envelopes)]
        return np.clip(np.concatenate(parts, axis=1), -1, 1).astype(np.float32)

    def semantic(self, envelopes: Array) -> tuple[Array, NDArray[np.int64]]:
        """-> phonetic vectors [K, 32] and codes [K]; frame t also sees frame t - 1."""
        vectors = phonetic_input(self.components(envelopes)) - self.phonetic_mean
        vectors = (vectors @ self.phonetic).astype(np.float32)
        return vectors, nearest(vectors, self.centroids)

    @classmethod
    def load(cls) -> CodeSpace:
        """The committed space, fitted once to 120,000 frames of the corpus."""
        file = resources.files("flowvox.reference.training.locked") / "code_space.npz"
        with file.open("rb") as opened:
            return cls(**dict(np.load(opened)))


def rounded(latents: Array) -> NDArray[np.uint8]:
    """Latents in [-1, 1] -> codes 0..20, half to even."""
    return np.rint((latents + 1) / 2 * (LEVELS - 1)).astype(np.uint8)


def phonetic_input(components: Array) -> Array:
    """Each frame beside its predecessor: [K, 68]."""
    before = np.concatenate([components[:1], components[:-1]])
    return np.concatenate([components, before], axis=1)


def nearest(vectors: Array, centroids: Array) -> NDArray[np.int64]:
    """Index of the closest centroid (L2) of each row."""
    scores = vectors @ centroids.T - (centroids**2).sum(axis=1) / 2
    return scores.argmax(axis=1)
