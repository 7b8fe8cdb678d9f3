"""What the decoder is told of the synthesis: every excitation as it sounds here, and the noise.

A window of the lapped transform is longer than what it stands for, and most of it lies in the middle.
What sounds beyond a block or a frame is therefore taken to go on as it does there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.locked.features import BINS, SUBFRAMES
from flowvox.reference.training.locked.glides import (
    MAX_CYCLES,
    MIN_CYCLES,
    PAIRS,
    Times,
    moving,
    staying,
)
from flowvox.reference.training.locked.lapped import PATCH, WINDOW
from flowvox.reference.training.locked.synth import (
    FRAME,
    HIGHEST_HARMONIC,
    NOISE_LEVEL,
    PULSE_LEVEL,
    RATE,
    frozen_noise,
)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sounds:
    """Windows [.., SUBFRAMES, WINDOW] around each eighth of a block, log gains 0.

    A block is what lies between the middles of two frames. steady [20]: the pitch of the frame that
    the eighth is in; moving [PAIRS]: pitch that moves from frame to frame; noise: without a pitch.
    """

    steady: Array
    moving: Array
    noise: Array

    @classmethod
    def of(cls, phase: Array) -> Sounds:
        """phase [BINS]: of the pulses' spectrum."""
        middles = (np.arange(SUBFRAMES) + 0.5) / SUBFRAMES
        time = middles[:, None] + (np.arange(WINDOW) + 0.5 - WINDOW / 2) / FRAME
        own = time - (middles >= 0.5)[:, None]  # since the middle of the eighth's own frame

        levels = range(MIN_CYCLES, MAX_CYCLES + 1)
        noise = frozen_noise(5 * FRAME) * np.float32(NOISE_LEVEL)
        starts = 2 * FRAME + FRAME // 2 + PATCH * np.arange(SUBFRAMES) + (PATCH - WINDOW) // 2
        return cls(
            steady=np.stack([harmonics(*staying(n, own), phase) for n in levels]),
            moving=np.stack([harmonics(*moving(a, b, time), phase) for a, b in PAIRS]),
            noise=noise[starts[:, None] + np.arange(WINDOW)],
        )


def harmonics(phases: Times, rate: Times, spectrum: Array) -> Array:
    """Pulses [..]: all harmonics below 11 kHz, each with the phase that `spectrum` [BINS] has there.

    phases: in periods; rate: periods per frame.
    """
    turn = np.exp(1j * spectrum.astype(np.float64))
    bins = np.linspace(0, RATE / 2, BINS)
    hertz = rate * (RATE / FRAME)
    total = np.zeros(phases.shape)
    for h in range(1, int(HIGHEST_HARMONIC / hertz.min()) + 1):
        frequency = h * hertz
        angle = 2 * np.pi * h * phases
        part = np.interp(frequency, bins, turn.real) * np.cos(angle)
        part -= np.interp(frequency, bins, turn.imag) * np.sin(angle)
        total += np.where(frequency <= HIGHEST_HARMONIC, part, 0)
    return (PULSE_LEVEL * total).astype(np.float32)
