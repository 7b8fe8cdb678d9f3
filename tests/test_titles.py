"""Titles in words: a model that was trained on words only would stop after the stop of "Dr."."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.titles import TITLES, titles_in_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dr. Patel and Mrs. Lindqvist", "Doctor Patel and Missus Lindqvist"),
        ("Ms. Delacroix plays chess.", "Miz Delacroix plays chess."),
        ("Mr Darcy met Prof. Østergaard", "Mister Darcy met Professor Østergaard"),
        ("(Lt. Col. Ames)", "(Lieutenant Colonel Ames)"),
    ],
)
def test_a_title_before_a_name_is_spelled_out(text: str, words: str) -> None:
    assert titles_in_words(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "She is a Dr. now.",
        "Ask the Dr.",
        "Gen is a name, and Col a pass.",
        "Sen Hayashi",
        "MDr. Who",
        "e.g.Dr. Who",
        "Dr.Who",
        "Dr. 2",
        "Dr. étage",
    ],
)
def test_what_is_no_title_stays(text: str) -> None:
    assert titles_in_words(text) == text


@given(st.text() | st.lists(st.sampled_from([*TITLES, ".", " ", "A", "a"])).map("".join))
def test_a_second_time_changes_nothing(text: str) -> None:
    words = titles_in_words(text)
    assert titles_in_words(words) == words


def test_time_grows_with_the_length_and_not_faster() -> None:
    started = time.process_time()
    titles_in_words("Mr. " * 50_000)
    assert time.process_time() - started < 5
