"""What a codec frame should say: log band energies of both sources and the voicing, per 80 ms.

Everything describes the samples of its own frame, so the causal codec can know it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.locked.synth import FRAME, HOP, RATE
from flowvox.reference.training.locked.teacher import Parameters

SUBFRAMES = 8
HARMONIC_BANDS, NOISE_BANDS = 48, 24
HARMONIC_FLOOR, NOISE_FLOOR = -5.0, -5.5  # log amplitude below which differences are inaudible
BINS = 601

Array = NDArray[np.float32]


def mel_bands(bands: int) -> Array:
    """[bands, BINS] triangular mel filters up to 12 kHz, each summing to 1."""
    mel = 2595 * np.log10(1 + np.linspace(0, RATE / 2, BINS) / 700)
    edges = np.linspace(0, mel[-1], bands + 2)
    rise = (mel - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - mel) / np.diff(edges)[1:, None]
    filters = np.maximum(np.minimum(rise, fall), 0)
    filters[np.arange(bands), np.abs(mel - edges[1:-1, None]).argmin(axis=1)] += 1e-3
    return (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)


_HARMONIC, _NOISE = mel_bands(HARMONIC_BANDS), mel_bands(NOISE_BANDS)


def frame_features(parameters: Parameters) -> tuple[Array, Array]:
    """Parameters -> (envelopes [K, SUBFRAMES * (48 + 24)], voiced share of the frame [K])."""
    frames = -(-len(parameters.f0) * HOP // FRAME)
    voiced = (parameters.f0 > 0)[:, None]
    harmonic = _band_levels(parameters.harmonic, _HARMONIC)
    harmonic = np.where(voiced, np.maximum(harmonic, HARMONIC_FLOOR), HARMONIC_FLOOR)
    noise = np.maximum(_band_levels(parameters.noise, _NOISE), NOISE_FLOOR)
    both = np.concatenate([harmonic, noise], axis=1)
    both = _resample(both, frames * SUBFRAMES, FRAME // SUBFRAMES)
    share = _resample(voiced.astype(np.float32), frames * SUBFRAMES, FRAME // SUBFRAMES)
    share = share.reshape(frames, SUBFRAMES).mean(axis=1)
    return both.reshape(frames, -1).astype(np.float32), share.astype(np.float32)


def in_frames(values: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    """A track at 80 Hz -> its values at `places` even places of each codec frame: [K, places]."""
    frames = -(-len(values) * HOP // FRAME)
    index = ((np.arange(frames * places) + 0.5) * FRAME / places / HOP).astype(int)
    return values[np.minimum(index, len(values) - 1)].reshape(frames, places)


def _band_levels(log_amplitude: Array, filters: Array) -> Array:
    """Mean energy of each band as a log amplitude."""
    energy = np.exp(2 * log_amplitude) @ filters.T
    return np.asarray(np.log(np.maximum(energy, 1e-12)) / 2, dtype=np.float32)


def _resample(track: NDArray[np.floating], count: int, step: int) -> Array:
    """[F, C] at the teacher's rate -> [count, C], sample j centred on (j + 1/2) * step."""
    where = (np.arange(count) + 0.5) * step / HOP - 0.5
    where = np.clip(where, 0, len(track) - 1)
    low = np.floor(where).astype(int)
    high = np.minimum(low + 1, len(track) - 1)
    weight = (where - low)[:, None]
    return np.asarray(track[low] * (1 - weight) + track[high] * weight, dtype=np.float32)
