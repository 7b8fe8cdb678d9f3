"""What the corpus says, and the split that keeps it honest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.reference.training.corpus import Corpus, owners, text_encoder, write
from flowvox.reference.training.text import (
    cut_phrases,
    is_held_out,
    joined,
    normalized,
    number_sentences,
    parts_of,
    read_definitions,
    read_examples,
    spelled,
    text_hash,
)


@given(st.text(alphabet="abc ABC.,!?'", min_size=1))
def test_the_split_ignores_case_and_punctuation(text: str) -> None:
    variant = text.upper() + "!"
    assert normalized(text) == normalized(variant)
    assert text_hash(text) == text_hash(variant)
    assert is_held_out(text) == is_held_out(variant)


def test_glosses_of_wordnet_become_sentences(tmp_path: Path) -> None:
    for part in ("adj", "adv", "noun", "verb"):
        (tmp_path / f"data.{part}").write_text('  1 This software | "is no example at all"\n')
    glosses = (
        '00001 00 n 01 dog | a tame animal (of any size); "the dog barked all night"; "two words"\n'
        '00002 00 n 01 car | "THE CAR of 1984 was black"; "The dog barked all night!"\n'
    )
    with (tmp_path / "data.noun").open("a") as file:
        file.write(glosses)
    assert read_examples(tmp_path) == ["The dog barked all night."]
    assert read_definitions(tmp_path) == ["A tame animal."]


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (19, "nineteen"), (42, "forty-two"), (700, "seven hundred"),
     (15_003, "fifteen thousand three"), (999_999, "nine hundred ninety-nine thousand nine hundred ninety-nine")],
)  # fmt: skip
def test_numbers_in_words(number: int, words: str) -> None:
    assert spelled(number) == words


def test_sentences_are_made_from_a_seed() -> None:
    sentences = ["The old man went home.", "A cat sat there."]
    assert number_sentences(50, seed=1) == number_sentences(50, seed=1)
    assert cut_phrases(sentences, 4, seed=1) == cut_phrases(sentences, 4, seed=1)
    assert all(len(parts_of(text)) >= 3 for text in joined(sentences, 5, seed=1))


def test_every_token_belongs_to_a_word() -> None:
    encoder = text_encoder([bytes([b]) for b in range(256)])
    word, size = owners(encoder.encode_ordinary("ab c"), encoder)
    assert word == [0, 0, 1, 1]  # the space belongs to the word that follows it
    assert size == [1, 1, 1, 1]


def test_the_file_reads_back(tmp_path: Path) -> None:
    rows = [("ab c", False, [0, 50, 16, 51, 0]), ("d", True, [0, 52, 0])]
    write(tmp_path, rows, [bytes([b]) for b in range(256)])
    corpus = Corpus.load(tmp_path / "corpus.npz")
    assert len(corpus) == 2
    np.testing.assert_array_equal(corpus.token_counts, [4, 1])
    np.testing.assert_array_equal(corpus.phonemes, [0, 50, 16, 51, 0, 0, 52, 0])
    np.testing.assert_array_equal(corpus.words, [2, 1])
    np.testing.assert_array_equal(corpus.british, [False, True])
