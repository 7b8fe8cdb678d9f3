"""The phase-locked corpus: the waveform is a function of the frame, and the codes are models/tiny's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.training.locked.codes import SEMANTIC_SCALE, CodeSpace
from flowvox.reference.training.locked.synth import (
    FRAME,
    MAX_CYCLES,
    MIN_CYCLES,
    filled_f0,
    frozen_noise,
    locked_phase,
)

TINY = Path(__file__).parents[3] / "models" / "tiny"


@given(st.lists(st.floats(80, 280), min_size=13, max_size=80), st.integers(0, 12))
def test_every_frame_holds_whole_pitch_periods(hertz: list[float], unvoiced: int) -> None:
    f0 = np.array(hertz, dtype=np.float32)
    f0[:unvoiced] = 0
    frames = -(-len(f0) * 300 // FRAME)
    phase, cycles, _ = locked_phase(f0, frames * FRAME)
    at_boundaries = phase.reshape(frames, FRAME)[:, -1]
    np.testing.assert_allclose(at_boundaries, np.cumsum(cycles), atol=1e-3)
    assert cycles.min() >= MIN_CYCLES
    assert cycles.max() <= MAX_CYCLES


def test_unvoiced_stretches_are_bridged() -> None:
    f0 = np.array([100, 0, 0, 0, 200], dtype=np.float32)
    filled = filled_f0(f0)
    assert np.all(np.diff(filled) > 0)
    assert 130 < filled[2] < 150  # the geometric mean of both ends


def test_noise_repeats_every_frame() -> None:
    noise = frozen_noise(3 * FRAME).reshape(3, FRAME)
    np.testing.assert_array_equal(noise[0], noise[2])


@pytest.mark.skipif(not TINY.exists(), reason="models/tiny is not in this checkout")
def test_semantic_centroids_are_the_packed_ones() -> None:
    checkpoint = Checkpoint.open(TINY)
    codebook = "audio_tokenizer.quantizer.semantic_codebook."
    usage = checkpoint.read(f"{codebook}cluster_usage")
    packed = checkpoint.read(f"{codebook}embedding_sum") / usage[:, None]
    np.testing.assert_allclose(CodeSpace.load().centroids * SEMANTIC_SCALE, packed, rtol=1e-6)


def test_labels_follow_the_sound() -> None:
    pytest.importorskip("hibari", reason="needs the train extra")
    from flowvox.reference.training.locked.teacher import Teacher

    teacher = Teacher()
    phonemes = teacher.phonemes("She sees the sea shore, Sasha says.")
    parameters = teacher.speak(phonemes)
    vocabulary = teacher.hibari.vocab
    hissing = np.isin(parameters.phonemes, [vocabulary["s"], vocabulary["ʃ"]])
    vowels = np.isin(parameters.phonemes, [vocabulary["i"], vocabulary["ɛ"], vocabulary["æ"]])
    hiss = parameters.noise[:, 250:450].mean(axis=1)  # 5 to 9 kHz
    assert hiss[hissing].mean() > hiss[vowels].mean() + 1
    assert parameters.word_index[-1] == phonemes.count(" ")
