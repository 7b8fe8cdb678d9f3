"""The teacher's labels are laid along its sound."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("hibari", reason="needs the train extra")

from flowvox.reference.training.teacher import Teacher


def test_labels_follow_the_sound() -> None:
    teacher = Teacher()
    phonemes = teacher.phonemes("She sees the sea shore, Sasha says.")
    parameters = teacher.speak(phonemes)
    vocabulary = teacher.hibari.vocab
    hissing = np.isin(parameters.phonemes, [vocabulary["s"], vocabulary["ʃ"]])
    vowels = np.isin(parameters.phonemes, [vocabulary["i"], vocabulary["ɛ"], vocabulary["æ"]])
    hiss = parameters.noise[:, 250:450].mean(axis=1)  # 5 to 9 kHz
    assert hiss[hissing].mean() > hiss[vowels].mean() + 1
    assert parameters.word_index[-1] == phonemes.count(" ")
