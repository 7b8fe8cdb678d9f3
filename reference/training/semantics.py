"""The semantic codes: which phonemes sound in a frame.

They are fixed before anything is trained: four labels per 80 ms frame (the teacher's durations), each
as a vector of what the phoneme sounds like and which it is; k-means over them; and a projection that
makes the centroids the codec's semantic vectors. No codebook can collapse, and the codes can be
predicted from text alone. Any teacher that tells when its phonemes sound can be coded.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.reference.training.spectral import mel_filters
from flowvox.reference.training.speech import FRAME, Speech

PHONEMES = 178  # Kokoro's alphabet
LABELS = 4  # per frame
COUNTS_PER_FRAME = 3.2  # 25 ms labels in 80 ms
SOUND_DIMS, IDENTITY_WEIGHT = 12, 0.8
SCALE = 0.3  # root mean square of the semantic vectors
SAMPLE_FRAMES, SAMPLE_UTTERANCES, ROUNDS = 300_000, 3000, 25
_WINDOW = 1024


@dataclass(frozen=True)
class Semantics:
    """labels uint8 [M, 4], codes int16 [M], vectors float32 [size, dim] of the codebook.

    places float32 [4, PHONEMES, dim]: what a label at each place of a frame adds to its vector.
    """

    labels: NDArray[np.uint8]
    codes: NDArray[np.int16]
    vectors: NDArray[np.float32]
    places: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """An .npz file."""
        np.savez(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Semantics:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})

    def of(self, labels: NDArray[np.integer]) -> Semantics:
        """The same codebook with the codes of other frames, labels [M, 4]."""
        places, vectors = torch.from_numpy(self.places), torch.from_numpy(self.vectors)
        codes = [
            torch.cdist(places[torch.arange(LABELS), rows].sum(1), vectors).argmin(1).short()
            for rows in torch.split(torch.from_numpy(labels.astype(np.int64)), 1 << 16)
        ]
        coded = torch.cat(codes).numpy()
        return replace(self, labels=labels.astype(np.uint8), codes=coded)


def label_index(speech: Speech, positions: int) -> NDArray[np.int64]:
    """Index into the labels of each frame at `positions` even places of it: [M, positions]."""
    lengths = np.diff(speech.starts)
    frame = np.arange(speech.starts[-1]) - np.repeat(speech.starts[:-1], lengths)
    place = (frame[:, None] + (np.arange(positions) + 0.5) / positions) * COUNTS_PER_FRAME
    begin, end = (
        np.repeat(np.asarray(x), lengths) for x in (speech.labels[:-1], speech.labels[1:])
    )
    return np.minimum(begin[:, None] + place.astype(np.int64), end[:, None] - 1)


def fit(speech: Speech, size: int, dim: int, device: str) -> Semantics:
    """Codes for every frame, `size` of them, with vectors of `dim` values."""
    labels = np.asarray(speech.phoneme)[label_index(speech, LABELS)]
    table = torch.cat(
        [_sounds(speech, device), IDENTITY_WEIGHT * torch.eye(PHONEMES, device=device)], 1
    )
    rows = torch.from_numpy(labels.astype(np.int64)).to(device)

    def features(chosen: Tensor) -> Tensor:
        return table[chosen].flatten(1)

    generator = torch.Generator(device).manual_seed(29)
    some = torch.randperm(len(rows), generator=generator, device=device)[:SAMPLE_FRAMES]
    sample = features(rows[some])
    centroids = _k_means(sample, size, generator)
    mean = centroids.mean(0)
    _, _, basis = torch.linalg.svd(centroids - mean, full_matrices=False)
    vectors = (centroids - mean) @ basis[:dim].T
    scale = SCALE / vectors.square().mean().sqrt()
    # (projected, each place adds its part of the vector)
    parts = zip(basis[:dim].chunk(LABELS, 1), mean.chunk(LABELS), strict=True)
    places = scale * torch.stack([(table - m) @ b.T for b, m in parts])
    codebook = [x.float().cpu().numpy() for x in (scale * vectors, places)]
    return Semantics(labels[:0], np.empty(0, np.int16), *codebook).of(labels)


def _sounds(speech: Speech, device: str) -> Tensor:
    """[PHONEMES, SOUND_DIMS]: principal components of each phoneme's mean log mel spectrum."""
    window, mel = torch.hann_window(_WINDOW, device=device), mel_filters(_WINDOW).to(device)
    sums = torch.zeros(PHONEMES, mel.shape[1], device=device)
    counts = torch.zeros(PHONEMES, device=device)
    for u in range(min(SAMPLE_UTTERANCES, len(speech.sentence))):
        span = slice(int(speech.starts[u]) * FRAME, int(speech.starts[u + 1]) * FRAME)
        audio = torch.from_numpy(np.array(speech.audio[span])).to(device).float() / 32767
        spectrum = torch.stft(audio, _WINDOW, 600, window=window, return_complex=True).abs()
        levels = (spectrum.T @ mel + 1e-3).log()
        phoneme = np.asarray(speech.phoneme[int(speech.labels[u]) : int(speech.labels[u + 1])])
        n = min(len(levels), len(phoneme))
        index = torch.from_numpy(phoneme[:n].astype(np.int64)).to(device)
        sums.index_add_(0, index, levels[:n])
        counts.index_add_(0, index, torch.ones(n, device=device))
    means = sums / counts.clamp(min=1)[:, None]
    seen = counts > 0
    centred = torch.where(seen[:, None], means - means[seen].mean(0), 0)
    _, _, basis = torch.linalg.svd(centred, full_matrices=False)
    sounds = centred @ basis[:SOUND_DIMS].T
    return sounds / sounds[seen].square().sum(1).mean().sqrt()


def _k_means(sample: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Lloyd's rounds from random frames; a centroid that loses all its frames takes a random one."""
    unique = torch.unique(sample, dim=0)
    start = torch.randperm(len(unique), generator=generator, device=sample.device)
    centroids = unique[start[torch.arange(size, device=sample.device) % len(unique)]]
    for _ in range(ROUNDS):
        nearest = torch.cdist(sample, centroids).argmin(1)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, sample)
        counts = torch.bincount(nearest, minlength=size)
        fresh = torch.randint(len(sample), (size,), generator=generator, device=sample.device)
        means = sums / counts.clamp(min=1)[:, None]
        centroids = torch.where((counts > 0)[:, None], means, sample[fresh])
    return centroids
