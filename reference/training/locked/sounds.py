"""What the decoder is told of the synthesis: every excitation as it sounds here, and the noise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.locked.corpus import VOICES, mean_phase
from flowvox.reference.training.locked.features import BINS
from flowvox.reference.training.locked.synth import (
    FRAME,
    HOP,
    MAX_CYCLES,
    MIN_CYCLES,
    RATE,
    synthesize,
)
from flowvox.reference.training.locked.teacher import LOG_FLOOR, Parameters, Teacher, warped
from flowvox.reference.training.speech import Speech

Array = NDArray[np.float32]
SILENT = 2 * LOG_FLOOR


@dataclass(frozen=True)
class Sounds:
    """excitations [20, FRAME]: 5 to 24 pitch periods, log gains 0; noise [FRAME]: log gains 0."""

    excitations: Array
    noise: Array

    @classmethod
    def of(cls, folder: Path) -> Sounds:
        """Of the corpus `folder`: its voices' phase spectra, weighted by who speaks at this pitch."""
        texts = json.loads((folder / "texts.json").read_text("utf-8"))[:40]
        phase = mean_phase(Teacher(), texts)
        speech = Speech.load(folder / "speech")
        level = np.load(folder / "codes.npy", mmap_mode="r")[:, 0]
        voice = np.repeat(speech.speaker, np.diff(speech.starts))
        levels = np.arange(1, MAX_CYCLES - MIN_CYCLES + 2)
        counts = np.array([[np.sum(level[voice == v] == n) for n in levels] for v in range(4)])
        shares = (counts + 1e-3) / (counts + 1e-3).sum(axis=0)
        made = [excitations(phase, v.formants) for v in VOICES.values()]
        mixed = sum(share[:, None] * frames for share, frames in zip(shares, made, strict=True))
        return cls(np.asarray(mixed, np.float32), steady(phase, 100.0, SILENT, 0.0, 1.0))


def excitations(phase: Array, formants: float) -> Array:
    """[20, FRAME]: a frame of each number of pitch periods, by a voice of these formants."""
    cycles = range(MIN_CYCLES, MAX_CYCLES + 1)
    return np.stack([steady(phase, n * RATE / FRAME, 0.0, SILENT, formants) for n in cycles])


def steady(phase: Array, f0: float, harmonic: float, noise: float, formants: float) -> Array:
    """One frame [FRAME] out of a sound with flat spectra of these log amplitudes."""
    count = 5 * FRAME // HOP
    flat = np.ones((count, BINS), np.float32)
    sound = Parameters(
        harmonic=flat * harmonic,
        noise=flat * noise,
        phase=flat * phase,
        f0=np.full(count, f0, np.float32),
        phonemes=np.zeros(count, np.int64),
        word_index=np.zeros(count, np.int64),
    )
    samples, _ = synthesize(warped(sound, 1.0, formants))
    return samples[2 * FRAME : 3 * FRAME]
