"""The windows that the decoder is built of are what the synthesis makes of flat spectra."""

from __future__ import annotations

import numpy as np
import pytest

from flowvox.reference.training.locked.features import BINS, SUBFRAMES
from flowvox.reference.training.locked.glides import MIN_CYCLES, PAIRS
from flowvox.reference.training.locked.lapped import PATCH, WINDOW
from flowvox.reference.training.locked.sounds import Sounds
from flowvox.reference.training.locked.synth import FRAME, HOP, RATE, synthesize
from flowvox.reference.training.locked.teacher import LOG_FLOOR, Parameters

FRAMES = 9
PHASE = np.sin(np.arange(BINS) / 40).astype(np.float32)
SILENT = 2 * LOG_FLOOR


def said(cycles: list[int], harmonic: float, noise: float) -> np.ndarray:
    """Frames of so many periods, with flat spectra of these log amplitudes."""
    centres = (np.arange(FRAMES * FRAME // HOP) + 0.5) * HOP / FRAME
    hertz = np.array(cycles)[centres.astype(int)] * RATE / FRAME
    flat = np.ones((len(centres), BINS), np.float32)
    sound = Parameters(
        harmonic=flat * np.float32(harmonic),
        noise=flat * np.float32(noise),
        phase=flat * PHASE,
        f0=hertz.astype(np.float32),
        phonemes=np.zeros(len(centres), np.int64),
        word_index=np.zeros(len(centres), np.int64),
    )
    samples, made = synthesize(sound)
    assert made.tolist() == cycles
    return samples


def windows(samples: np.ndarray, block: int) -> np.ndarray:
    """[SUBFRAMES, WINDOW] around the eighths of the block between frames `block` and `block` + 1."""
    first = block * FRAME + FRAME // 2 + (PATCH - WINDOW) // 2
    return np.stack([samples[first + p * PATCH :][:WINDOW] for p in range(SUBFRAMES)])


@pytest.mark.parametrize("level", [6, 12, 20])
def test_a_steady_pitch(level: int) -> None:
    made, expected = (
        Sounds.of(PHASE).steady[level - MIN_CYCLES],
        windows(said([level] * FRAMES, 0.0, SILENT), 3),
    )
    assert np.square(made - expected).sum() < 0.01 * np.square(expected).sum()


def test_a_pitch_that_moves_on_beyond_its_block() -> None:
    cycles = [10, 11, 12, 13, 14, 15, 16, 17, 18]
    made = Sounds.of(PHASE).moving[PAIRS.index((13, 14))]
    expected = windows(said(cycles, 0.0, SILENT), 3)
    assert np.square(made - expected).sum() < 0.05 * np.square(expected).sum()


def test_noise() -> None:
    made, expected = Sounds.of(PHASE).noise, windows(said([10] * FRAMES, SILENT, 0.0), 3)
    assert np.square(made - expected).sum() < 0.01 * np.square(expected).sum()
