"""Distances between the magnitude spectra of two aligned waveforms (float32 [n] at 24 kHz).

0 for equal signals; NaN where either holds NaN or Inf; ValueError for unequal lengths.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flowvox.eval.waveform import RATE, Samples, comparable

MELS, MEL_FFT, MEL_HOP = 80, 1024, 256
MEL_FLOOR = 1e-10  # -100 dB; a full-scale sine has about 0 dB in its band
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # FFT, hop, window
POWER_FLOOR = 1e-7

Array = NDArray[np.float64]


def log_mel_distance_db(reference: Samples, candidate: Samples) -> float:
    """Mean over frames and 80 mel bands of |difference of log power| in dB.

    1024-point Hann frames every 256 samples; power relative to a full-scale sine, floored at -100 dB.
    """
    if not comparable(reference, candidate):
        return float("nan")
    return float(np.abs(_log_mel(reference) - _log_mel(candidate)).mean())


def stft_distance(reference: Samples, candidate: Samples) -> float:
    """Multi-resolution STFT distance of Parallel WaveGAN (Yamamoto et al. 2020, eq. 4-6); no unit.

    Mean over three resolutions of |S - C|_F / |S|_F (spectral convergence) + mean |ln S - ln C|
    (log magnitude), S and C the magnitudes of reference and candidate, power floored at 1e-7. The
    sizes are the paper's, made for 24 kHz.
    """
    if not comparable(reference, candidate):
        return float("nan")
    total = 0.0
    for size, hop, window in RESOLUTIONS:
        s, c = (
            np.sqrt(np.maximum(_power(x, size, hop, window), POWER_FLOOR))
            for x in (reference, candidate)
        )
        convergence = np.linalg.norm(s - c) / np.linalg.norm(s)
        total += float(convergence + np.abs(np.log(s) - np.log(c)).mean())
    return total / len(RESOLUTIONS)


def _log_mel(samples: Samples) -> Array:
    gain = (2 / np.hanning(MEL_FFT + 1)[:-1].sum()) ** 2  # of a sine's peak in the power spectrum
    mel = _power(samples, MEL_FFT, MEL_HOP, MEL_FFT) @ _mel_filters().T * gain
    return 10 * np.log10(np.maximum(mel, MEL_FLOOR))


def _power(samples: Samples, size: int, hop: int, window: int) -> Array:
    """|STFT|^2 [frames, size // 2 + 1]; periodic Hann `window` amid `size` points, zeros around."""
    padded = np.pad(samples.astype(np.float64), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    left = (size - window) // 2
    taper = np.pad(np.hanning(window + 1)[:-1], (left, size - window - left))
    return np.abs(np.fft.rfft(frames * taper)) ** 2


@lru_cache(maxsize=1)
def _mel_filters() -> Array:
    """Triangles of height 1 [MELS, bins], equally wide on the HTK mel scale from 0 Hz to RATE / 2."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(MEL_FFT, 1 / RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))
