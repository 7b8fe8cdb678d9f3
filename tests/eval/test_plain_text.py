"""Spellings that sound the same are the same text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.eval.plain_text import plain_words

pytest.importorskip("whisper_normalizer", reason="needs flowvox[eval]")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("twenty-five", "25"),
        ("It costs twenty-five dollars.", "it costs $25"),
        ("one thousand two hundred and fifty pounds", "£1,250"),
        ("the third of May, twenty twenty-four", "the 3rd of May 2024"),
        ("at ten thirty", "at 10:30"),
        ("at ten thirty", "at 10.30"),
        ("call five five five one two three four", "Call 555-1234"),
        ("three point five percent", "3.5%"),
        ("Dr. Smith and Mr. O’Neill", "doctor Smith and mister O'Neill"),
        ("It’s what they don't know", "it is what they do not know"),
        ("The colour grey", "the color gray"),
        ("café", "cafe"),
        ("one of them", "1 of them"),
    ],
)
def test_same_sound_same_words(one: str, other: str) -> None:
    assert plain_words(one) == plain_words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("fifteen", "fifty"), ("they're", "their"), ("$5", "£5"), ("3.5", "35"), ("$12.50", "$1,250")],
)
def test_other_words_stay_other_words(one: str, other: str) -> None:
    assert plain_words(one) != plain_words(other)


@pytest.mark.parametrize("nothing", ["", " ", "...", "?!", "Hmm."])
def test_nothing_spoken_is_nothing(nothing: str) -> None:
    assert plain_words(nothing) == ""


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            ["one", "two", "hundred", "point", "and", "double", "oh", "$", "5", "5.5", "½"]
        )
    ).map(" ".join)
)
def test_any_text_becomes_single_spaced_words(text: str) -> None:
    plain = plain_words(text)
    assert plain == " ".join(plain.split())
    assert all(any(c.isalnum() for c in word) for word in plain.split())
