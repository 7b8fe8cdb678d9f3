"""Error counts that can be counted on fingers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.eval.error_rate import (
    Errors,
    character_error_rate,
    character_errors,
    error_rate,
    word_error_rate,
    word_errors,
)

pytest.importorskip("jiwer", reason="needs flowvox[eval]")
pytest.importorskip("whisper_normalizer", reason="needs flowvox[eval]")

WORDS = st.lists(st.sampled_from(["cat", "dog", "sat", "mat", "under"]), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("said", "heard", "words", "characters"),
    [
        ("The cat sat.", "the cat sat", (0, 3), (0, 11)),
        ("The cat sat.", "the cat sad", (1, 3), (1, 11)),
        ("The cat sat.", "cat sat", (1, 3), (4, 11)),
        ("The cat sat.", "the cat sat up", (1, 3), (3, 11)),
        ("The cat sat.", "", (3, 3), (11, 11)),
        ("Nine lives", "9 lives", (0, 2), (0, 7)),
        ("...", "the cat", (2, 0), (7, 0)),
        ("...", "", (0, 0), (0, 0)),
    ],
)
def test_counts(said: str, heard: str, words: tuple[int, int], characters: tuple[int, int]) -> None:
    assert word_errors(said, heard) == words
    assert character_errors(said, heard) == characters


def test_long_texts_weigh_more_than_short_ones() -> None:
    said, heard = ["no", "the dog sat under the mat"], ["", "the dog sat under the mat"]
    assert word_error_rate(said, heard) == pytest.approx(1 / 7)
    assert character_error_rate(said, heard) == pytest.approx(2 / 27)


def test_nothing_said_has_a_rate_too() -> None:
    assert error_rate([]) == error_rate([Errors(0, 0)]) == 0
    assert error_rate([Errors(2, 0)]) == 2


def test_every_text_needs_its_answer() -> None:
    with pytest.raises(ValueError, match="zip"):
        word_error_rate(["a", "b"], ["a"])


@given(WORDS, WORDS)
def test_bounds(said: str, heard: str) -> None:
    for errors, total, units in (
        (*word_errors(said, heard), lambda text: len(text.split())),
        (*character_errors(said, heard), len),
    ):
        assert total == units(said)
        assert abs(units(said) - units(heard)) <= errors <= max(units(said), units(heard))
        assert (errors == 0) == (said == heard)
