"""Long sentences: what a language model meets in one go, without a full stop in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.reference.training.made_up import make_work

from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.locked import corpus
from flowvox.reference.training.locked.long_sentences import (
    PIECE_WORDS,
    WORDS,
    from_pieces,
    long_sentences,
)
from flowvox.reference.training.text import is_held_out, normalized, text_hash

TEXTS = [
    f"The {thing} is {how} than it was last year."
    for thing in ("house", "river", "table", "question", "lantern", "winter", "window", "castle")
    for how in ("larger", "colder", "older", "quieter", "cheaper")
]


def made(seed: int = 3, exclude: set[str] | None = None) -> list[tuple[str, list[str]]]:
    return long_sentences(TEXTS, exclude or set(), 60, seed)


def test_a_long_sentence_has_one_full_stop_and_its_clauses_are_of_the_corpus() -> None:
    known = {normalized(text) for text in TEXTS}
    for sentence, _ in made():
        assert sentence.count(".") == 1
        assert sentence.endswith(".")
        assert "The" not in sentence[1:]
        clauses = [part for part in normalized(sentence).split("the ") if part]
        assert len(clauses) >= 2
        for clause in clauses:
            assert any(f"the {clause}".startswith(text) for text in known)


def test_lengths_are_spread_over_what_is_aimed_at() -> None:
    counts = [len(sentence.split()) for sentence, _ in made()]
    assert min(counts) < 40 < 70 < max(counts) < WORDS[1] + 20


def test_the_teacher_pauses_after_a_comma_or_a_semicolon() -> None:
    sentences = made()
    assert any(len(pieces) > 1 for _, pieces in sentences)
    for sentence, pieces in sentences:
        assert " ".join(pieces) == sentence
        assert all(piece[-1] in ",;" and len(piece.split()) >= PIECE_WORDS for piece in pieces[:-1])


def test_neither_held_out_nor_judged_sentences_are_in_it() -> None:
    held = [text for text in TEXTS if is_held_out(text)]
    assert held  # or this test says nothing
    text = " ".join(normalized(sentence) for sentence, _ in made())
    assert not any(normalized(sentence) in text for sentence in held)
    assert not any(is_held_out(sentence) for sentence, _ in made())
    first = made()[0][0]
    assert first not in dict(made(exclude={text_hash(first)}))


def test_names_and_questions_are_left_where_they_are() -> None:
    with_names = [*TEXTS, "Anna went home by the river.", "Where is it?", "Two of a kind: one."]
    joined = " ".join(s for s, _ in long_sentences(with_names, set(), 200, seed=4))
    assert not any(word in joined for word in ("Anna", "Where", "kind"))


def row(sentence: int, words: int, voice: int = 2) -> dict[str, Any]:
    return {
        "codes": np.full((6 * words, 36), sentence, np.uint8),
        "labels": np.zeros((6 * words, 4), np.uint8),
        "word": np.arange(6 * words) // 6,
        "voice": voice,
        "words": words,
        "sentence": sentence,
    }


def test_pieces_become_one_utterance_unless_one_is_missing() -> None:
    pieces = {7: ["one two,", "and three."], 8: ["four five,", "six."]}
    (whole,) = from_pieces(pieces, [row(7, 2), row(7, 2), row(8, 2)])
    assert whole["sentence"] == 7
    assert whole["words"] == 4
    assert whole["word"].tolist() == np.repeat([0, 1, 2, 3], 6).tolist()
    assert len(whole["codes"]) == len(whole["labels"]) == 24


def test_they_are_appended_to_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_work(tmp_path)
    monkeypatch.setattr(corpus, "LONG", 5)
    before = len(Corpus.load(tmp_path / "corpus.npz"))
    added = corpus.add_long(tmp_path, TEXTS, set())
    texts = json.loads((tmp_path / "texts.json").read_text("utf-8"))
    assert list(added) == list(range(before, before + 5))
    assert len(texts) == len(Corpus.load(tmp_path / "corpus.npz")) == before + 5
    for number, pieces in added.items():
        assert texts[number] == " ".join(pieces)


@pytest.mark.parametrize("seed", [5, 6])
def test_the_same_seed_gives_the_same_sentences(seed: int) -> None:
    assert made(seed) == made(seed) != made(seed + 1)
