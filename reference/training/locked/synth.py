"""Phase-locked synthesis: a waveform that is a function of local parameters only.

A codec decoder cannot know the phase that a speaker's pitch has accumulated since the sentence
began; learning to invent it is what makes vocoders slow to train. Here the corpus itself removes
the riddle: every 80 ms codec frame has in its middle a pitch of a whole number of periods per
frame, between the middles the pitch moves in one fixed way (glides.py), and the noise source is one
frozen pattern repeated each frame. The excitation between the middles of two frames is then one of
80 that move or two halves of 20 that stay, and the waveform a deterministic function of it and of
the spectral envelopes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.locked.glides import MAX_CYCLES, MIN_CYCLES, track
from flowvox.reference.training.locked.teacher import LOG_FLOOR, TEACHER_RATE, Parameters

RATE = 24000
FRAME = 1920  # samples of a codec frame
HOP = RATE // TEACHER_RATE
WINDOW = 1200
NOISE_SEED = 20260324
HIGHEST_HARMONIC = 11000.0
# Amplitudes at which a pulse train's harmonics, and noise, have spectra of magnitude 1 in these
# windows; hibari's noise has unit variance in each of the real and imaginary parts.
PULSE_LEVEL = 4 / WINDOW
NOISE_LEVEL = (2 / (WINDOW * 3 / 8)) ** 0.5

Array = NDArray[np.float32]


def filled_f0(f0: Array) -> NDArray[np.float64]:
    """F0 [F] with unvoiced stretches (0) bridged in log frequency; 160 Hz if nothing is voiced."""
    voiced = np.flatnonzero(f0 > 0)
    if len(voiced) == 0:
        return np.full(len(f0), 160.0)
    log = np.interp(np.arange(len(f0)), voiced, np.log(f0[voiced]))
    smooth = np.convolve(np.pad(log, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return np.exp(smooth)


def lock_cycles(cycles: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers near `cycles` [K] whose deviation changes little from frame to frame (Viterbi)."""
    base = np.floor(cycles)[:, None] + np.arange(-1, 3)
    candidates = np.clip(base, MIN_CYCLES, MAX_CYCLES)
    deviation = candidates - cycles[:, None]
    cost = deviation[0] ** 2
    back = np.zeros(candidates.shape, dtype=int)
    for k in range(1, len(cycles)):
        step = cost[:, None] + (deviation[k][None] - deviation[k - 1][:, None]) ** 2
        back[k] = step.argmin(axis=0)
        cost = step.min(axis=0) + deviation[k] ** 2
    path = [int(cost.argmin())]
    for k in range(len(cycles) - 1, 0, -1):
        path.append(int(back[k][path[-1]]))
    return candidates[np.arange(len(cycles)), path[::-1]].astype(np.int64)


def locked_phase(f0: Array, samples: int) -> tuple[NDArray[np.float64], NDArray[np.int64], Array]:
    """F0 at 80 Hz -> (phase in periods at each sample, cycles per codec frame, F0 per sample).

    `samples` is a multiple of FRAME. The phase is known up to whole periods.
    """
    centres = (np.arange(len(f0)) + 0.5) * HOP
    contour = np.interp(np.arange(samples), centres, filled_f0(f0)).reshape(-1, FRAME)
    whole = lock_cycles(contour.sum(axis=1) / RATE)
    phase, rate = track(whole, FRAME)
    return phase.flatten(), whole, (rate.flatten() * (RATE / FRAME)).astype(np.float32)


def pulse_train(phase: NDArray[np.float64], f0: Array) -> Array:
    """Band-limited pulses: sum of cos(2 pi h phase) over the harmonics h below 11 kHz.

    Closed form of the Dirichlet kernel: sin((H + 1/2) x) / (2 sin(x / 2)) - 1/2.
    """
    x = 2 * np.pi * np.mod(phase, 1.0)
    count = np.floor(HIGHEST_HARMONIC / f0)
    half = np.sin(x / 2)
    near = np.abs(half) < 1e-4
    pulses = np.sin((count + 0.5) * x) / np.where(near, 1.0, 2 * half) - 0.5
    return np.where(near, count, pulses).astype(np.float32)


def frozen_noise(samples: int) -> Array:
    """One frame of unit white noise, repeated."""
    one = np.random.default_rng(NOISE_SEED).standard_normal(FRAME, dtype=np.float32)
    return np.tile(one, samples // FRAME)


def synthesize(parameters: Parameters) -> tuple[Array, NDArray[np.int64]]:
    """Parameters -> (samples [K * FRAME] at 24 kHz, cycles per codec frame [K])."""
    frames = -(-len(parameters.f0) * HOP // FRAME)
    samples = frames * FRAME
    phase, cycles, f0 = locked_phase(parameters.f0, samples)
    rows = samples // HOP + 1
    voiced = np.pad(parameters.f0 > 0, (0, rows - len(parameters.f0)))
    harmonic = _extend(parameters.harmonic, rows)
    harmonic = np.where(voiced[:, None], harmonic, LOG_FLOOR - 3)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    pulses = _stft(pulse_train(phase, f0) * np.float32(PULSE_LEVEL), rows, window)
    noise = _stft(frozen_noise(samples) * np.float32(NOISE_LEVEL), rows, window)
    rotation = np.exp(harmonic + 1j * _extend(parameters.phase, rows))
    spectrum = pulses * rotation + noise * np.exp(_extend(parameters.noise, rows))
    return _overlap_add(spectrum, samples, window), cycles


def _extend(x: Array, rows: int) -> Array:
    return np.pad(x, ((0, max(0, rows - len(x))), (0, 0)), mode="edge")[:rows]


def _stft(x: Array, rows: int, window: Array) -> NDArray[np.complex64]:
    """Row r is centred on the teacher's frame r, at sample (r + 1/2) * HOP."""
    left = WINDOW // 2 - HOP // 2
    padded = np.pad(x, (left, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:rows]
    return np.fft.rfft(frames * window, axis=1).astype(np.complex64)


def _overlap_add(spectrum: NDArray[np.complex64], samples: int, window: Array) -> Array:
    frames = np.fft.irfft(spectrum, n=WINDOW, axis=1).astype(np.float32) * window
    total = np.zeros(len(frames) * HOP + WINDOW, np.float32)
    weight = np.zeros_like(total)
    for r, frame in enumerate(frames):
        total[r * HOP : r * HOP + WINDOW] += frame
        weight[r * HOP : r * HOP + WINDOW] += window**2
    left = WINDOW // 2 - HOP // 2
    total /= np.maximum(weight, 1e-3)
    return total[left : left + samples]
