"""Whose voice it is: similarities to every teacher, and the model's own speech to compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import generate
from flowvox.reference.model import load_model
from flowvox.reference.training.likeness import Speaker, likenesses, middle

TINY = Path(__file__).parents[3] / "models" / "tiny"
ONE, OTHER = np.eye(3, dtype=np.float32)[:2]


def test_the_middle_of_voices_is_a_unit_vector() -> None:
    np.testing.assert_allclose(middle([ONE, OTHER]), [0.5**0.5, 0.5**0.5, 0], rtol=1e-6)


def test_each_teacher_has_its_likeness() -> None:
    assert likenesses([ONE, ONE], {"a": ONE, "b": OTHER}) == {"a": 1.0, "b": 0.0}
    mixed = likenesses([ONE, OTHER], {"a": ONE, "b": middle([ONE, OTHER])})
    assert mixed == {"a": 0.5, "b": pytest.approx(0.707)}


def test_free_speech_is_the_models_own_and_depends_on_the_voice() -> None:
    checkpoint = Checkpoint.open(TINY)
    speaker = Speaker(checkpoint, load_model(checkpoint))
    heart, hugo = (speaker.say("Yes, 7.", checkpoint.voice(name)) for name in ("heart", "hugo"))
    assert len(heart) % checkpoint.config.codec.frame_samples == 0
    assert 0.3 < len(heart) / checkpoint.config.codec.sampling_rate < 4
    assert len(heart) != len(hugo) or not np.allclose(heart, hugo)


def test_following_its_own_speech_it_says_the_same() -> None:
    checkpoint = Checkpoint.open(TINY)
    speaker = Speaker(checkpoint, load_model(checkpoint))
    text, rows = "Yes, 7.", checkpoint.voice("heart")
    own = generate(speaker.model, speaker.prompt(text, rows), speaker.noise).codes
    followed, said = speaker.follow(text, rows, own), speaker.say(text, rows)
    assert np.square(followed - said).mean() < 0.01 * np.square(said).mean()
