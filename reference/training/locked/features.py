"""What a codec frame should say: log envelopes of both sources and the voicing, per 80 ms.

Everything describes the samples of its own frame, so the causal codec can know it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.locked.synth import FRAME, HOP, RATE
from flowvox.reference.training.locked.teacher import Parameters

SUBFRAMES = 8
HARMONIC_BANDS, NOISE_BANDS = 80, 40
HARMONIC_FLOOR, NOISE_FLOOR = -3.5, -4.5  # log amplitude below which differences are inaudible
ENVELOPE = SUBFRAMES * (HARMONIC_BANDS + NOISE_BANDS)  # values of a frame
# Fitted levels may lie below the floors.
FLOORS = np.tile(
    np.repeat([HARMONIC_FLOOR, NOISE_FLOOR], [HARMONIC_BANDS, NOISE_BANDS]), SUBFRAMES
).astype(np.float32)
BINS = 601  # of the teacher's spectra, 0 to 12 kHz

Array = NDArray[np.float32]


def mel_hats(frequency: NDArray[np.floating], bands: int) -> Array:
    """[F, bands]: linear interpolation at `frequency` [F], Hz, between `bands` points, even in mel.

    Beyond the first and the last point it stays what it is there.
    """

    def mel(hertz: NDArray[np.floating] | float) -> NDArray[np.floating]:
        return np.asarray(2595 * np.log10(1 + np.asarray(hertz) / 700))

    points = np.linspace(0, mel(RATE / 2), bands + 2)[1:-1]
    place = np.interp(mel(frequency), points, np.arange(bands))
    return np.maximum(1 - np.abs(place[:, None] - np.arange(bands)), 0).astype(np.float32)


# Least squares: the levels at the points from which interpolation comes nearest to the log envelope.
# The mean energy of bands would hiss: a rough spectrum's mean lies above its typical level.
_HARMONIC, _NOISE = (
    np.linalg.pinv(mel_hats(np.linspace(0, RATE / 2, BINS), n)).T
    for n in (HARMONIC_BANDS, NOISE_BANDS)
)


def frame_features(parameters: Parameters) -> tuple[Array, Array]:
    """Parameters -> (envelopes [K, SUBFRAMES * (80 + 40)], voiced share of the frame [K])."""
    frames = -(-len(parameters.f0) * HOP // FRAME)
    voiced = (parameters.f0 > 0)[:, None]
    harmonic = np.where(voiced, np.maximum(parameters.harmonic, HARMONIC_FLOOR), HARMONIC_FLOOR)
    noise = np.maximum(parameters.noise, NOISE_FLOOR)
    both = np.concatenate([harmonic @ _HARMONIC, noise @ _NOISE], axis=1)
    both = _resample(both, frames * SUBFRAMES, FRAME // SUBFRAMES)
    share = _resample(voiced.astype(np.float32), frames * SUBFRAMES, FRAME // SUBFRAMES)
    share = share.reshape(frames, SUBFRAMES).mean(axis=1)
    return both.reshape(frames, ENVELOPE), share


def in_frames(values: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    """A track at 80 Hz -> its values at `places` even places of each codec frame: [K, places]."""
    frames = -(-len(values) * HOP // FRAME)
    index = ((np.arange(frames * places) + 0.5) * FRAME / places / HOP).astype(int)
    return values[np.minimum(index, len(values) - 1)].reshape(frames, places)


def _resample(track: NDArray[np.floating], count: int, step: int) -> Array:
    """[F, C] at the teacher's rate -> [count, C], sample j centred on (j + 1/2) * step."""
    where = (np.arange(count) + 0.5) * step / HOP - 0.5
    where = np.clip(where, 0, len(track) - 1)
    low = np.floor(where).astype(int)
    high = np.minimum(low + 1, len(track) - 1)
    weight = (where - low)[:, None]
    return np.asarray(track[low] * (1 - weight) + track[high] * weight, dtype=np.float32)
