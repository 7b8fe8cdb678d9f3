"""Stage `codes`: the fixed code space that decoder, encoder and language model all train on.

Acoustic value 0 is the number of pitch periods in the frame, value 1 the F0 slope, the other 34 are
principal components of the envelopes; each is rounded to the codec's 21 levels. Because the codes are
fixed before any training, the parts of the model can be trained at the same time.

The semantic code is the nearest of 512 centroids in a phonetic space: a linear discriminant analysis
of two frames of components against the teacher's phoneme, then k-means.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.features import HARMONIC_BANDS, NOISE_BANDS, SUBFRAMES
from flowvox.reference.training.synth import MIN_CYCLES

COMPONENTS = 34
LEVELS = 21
CLIP_DEVIATIONS = 2.8  # a component's range, in standard deviations
SLOPE_RANGE = 0.12  # relative F0 change between the halves of a frame
SEMANTIC_DIM, SEMANTIC_SIZE = 32, 512
FIT_FRAMES = 120_000
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

    def save(self, path: Path) -> None:
        np.savez(path, **self.__dict__)

    @classmethod
    def load(cls, path: Path) -> CodeSpace:
        return cls(**dict(np.load(path)))


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


def discriminants(x: Array, labels: NDArray[np.uint8], dim: int) -> tuple[Array, Array]:
    """Linear discriminant analysis: (mean [D], projection [D, dim]) with unit within-class scatter."""
    mean = x.mean(axis=0)
    centred = (x - mean).astype(np.float64)
    within = np.zeros((x.shape[1], x.shape[1]))
    between = np.zeros_like(within)
    for label in np.unique(labels):
        rows = centred[labels == label]
        centre = rows.mean(axis=0)
        within += (rows - centre).T @ (rows - centre)
        between += len(rows) * np.outer(centre, centre)
    within = within / len(x) + 1e-4 * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    _, rotation = np.linalg.eigh(whiten.T @ (between / len(x)) @ whiten)
    return mean, (whiten @ rotation[:, ::-1][:, :dim]).astype(np.float32)


def k_means(x: Array, size: int, rounds: int = 25, seed: int = 3) -> Array:
    """Centroids [size, D]; empty clusters are re-seeded from the data."""
    rng = np.random.default_rng(seed)
    centroids = x[rng.choice(len(x), size, replace=False)].copy()
    for _ in range(rounds):
        index = nearest(x, centroids)
        counts = np.bincount(index, minlength=size)
        sums = np.zeros_like(centroids)
        np.add.at(sums, index, x)
        empty = counts == 0
        centroids = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        centroids[empty] = x[rng.choice(len(x), int(empty.sum()))]
    return centroids


def fit(work: Path) -> CodeSpace:
    """Fit on the first shards and write `work`/codes.npz."""
    envelopes, phonemes, frames = [], [], 0
    for shard in sorted((work / "corpus").glob("[0-9]*[0-9].npz")):
        data = np.load(shard)
        envelopes.append(data["envelopes"].astype(np.float32))
        phonemes.append(data["phoneme"])
        frames += len(phonemes[-1])
        if frames >= FIT_FRAMES:
            break
    x, labels = np.maximum(np.concatenate(envelopes), FLOORS), np.concatenate(phonemes)
    mean = x.mean(axis=0)
    covariance = np.cov((x - mean).T)
    values, vectors = np.linalg.eigh(covariance)
    basis = vectors[:, ::-1][:, :COMPONENTS].astype(np.float32)
    kept = values[::-1][:COMPONENTS]
    print(
        f"{frames} frames; {COMPONENTS} components keep {kept.sum() / values.sum():.1%} of variance"
    )
    scale = (CLIP_DEVIATIONS * np.sqrt(kept)).astype(np.float32)
    pairs = phonetic_input(((x - mean) @ basis / scale).astype(np.float32))
    phonetic_mean, phonetic = discriminants(pairs, labels, SEMANTIC_DIM)
    centroids = k_means(((pairs - phonetic_mean) @ phonetic).astype(np.float32), SEMANTIC_SIZE)
    space = CodeSpace(mean, basis, scale, phonetic_mean, phonetic, centroids)
    space.save(work / "codes.npz")
    return space
