"""Splitting of long texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.runtime.text import split_text


def test_a_text_that_fits_is_left_alone() -> None:
    assert split_text(" One.  Two.\n", 300) == [" One.  Two.\n"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One two. Three four, five six. Seven.", ["One two.", "Three four,", "five six. Seven."]),
        ('He said "Stop now." Then we left.', ['He said "Stop now."', "Then we left."]),
        ("今日は晴れ。明日は雨、たぶん。ではまた後で。", ["今日は晴れ。明日は雨、たぶん。", "ではまた後で。"]),
        ("a" * 45, ["a" * 20, "a" * 20, "a" * 5]),
        ("Costs 3.14 dollars, they say so.", ["Costs 3.14 dollars,", "they say so."]),
    ],
)  # fmt: skip
def test_pieces_end_with_sentences_else_clauses_else_words(text: str, pieces: list[str]) -> None:
    assert split_text(text, 20) == pieces


@given(st.text(max_size=400), st.integers(5, 60))
def test_splitting_loses_nothing_but_space(text: str, longest: int) -> None:
    pieces = split_text(text, longest)
    assert all(len(piece) <= longest for piece in pieces)
    assert all(piece.strip() for piece in pieces) or len(pieces) == 1
    assert "".join("".join(pieces).split()) == "".join(text.split())
