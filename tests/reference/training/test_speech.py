"""Who speaks what, in which batches, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.training.made_up import FRAMES, TEXTS, make_work

from flowvox.reference.training.codec import Crops
from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.speech import FRAME, PRESETS, UNSEEN, Speech, batches, cast, trimmed

VOICES = [*PRESETS.values(), *UNSEEN, "af_nicole", "af_bella", "am_adam", "bf_lily", "bm_fable"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_batches_hold_equal_lengths(lengths: list[int], most: int) -> None:
    parts = batches(np.array(lengths), most)
    assert sorted(int(i) for part in parts for i in part) == list(range(len(lengths)))
    for part in parts:
        assert len({lengths[i] for i in part}) == 1
        assert len(part) == 1 or len(part) * lengths[part[0]] <= most


def test_silence_is_cut_and_speech_is_not() -> None:
    assert trimmed(np.array([13, 4, 5, 12, 6])) == (8, 40 - 8 - 11)
    assert trimmed(np.array([2, 4, 5, 1, 1])) == (0, 13)


def test_unseen_voices_say_nothing(tmp_path: Path) -> None:
    make_work(tmp_path)
    corpus = Corpus.load(tmp_path / "corpus.npz")
    styles = {name: torch.zeros(510, 256) for name in VOICES}
    for name in (*UNSEEN, "af_nicole"):
        styles[name] = torch.full((510, 256), torch.nan)
    actors = cast(corpus, styles, seed=1)
    assert torch.isfinite(actors.styles).all()
    assert len(actors.speaker) == len(TEXTS)
    american = {0, 2}  # heart and michael
    assert set(actors.speaker[actors.speaker < len(PRESETS)].tolist()) <= american


def test_arrays_are_mapped(tmp_path: Path) -> None:
    speech = make_work(tmp_path)
    loaded = Speech.load(tmp_path / "speech")
    np.testing.assert_array_equal(loaded.audio, speech.audio)
    np.testing.assert_array_equal(loaded.starts, speech.starts)
    assert loaded.audible == len(speech.sentence)


def test_audio_may_end_after_the_first_utterances(tmp_path: Path) -> None:
    speech = make_work(tmp_path)
    shorter = replace(speech, audio=speech.audio[: 5 * FRAMES * FRAME])
    assert shorter.audible == 5
    held, codes = np.zeros(16, bool), np.zeros(16 * FRAMES, np.int16)
    crops = Crops(shorter, codes, held, "cpu")
    drawn = [crops.draw(4) for _ in range(20)]
    assert max(int(rows.max()) for _, rows, _ in drawn) < 5 * FRAMES
