"""Lists of words that no sentence of the corpus has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.reference.training.made_up import TEXTS, make_work

from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.locked import corpus
from flowvox.reference.training.locked.lists import RARE, lexicon_texts, read_lexicon
from flowvox.reference.training.text import is_held_out, text_hash, words_of

LEXICON = {"ocean", "table", "lantern", "quince", "zither", "Bagot", "Zeebrugge", "Table"}
CORPUS = ["The ocean is wide."] * RARE + ["A lantern."]


def texts_of(seed: int = 3, exclude: set[str] | None = None) -> list[str]:
    return lexicon_texts(LEXICON, CORPUS, exclude or set(), seed)


def test_rare_words_are_said_twice_and_names_at_least_once() -> None:
    said = [word.lower() for text in texts_of() for word in words_of(text)]
    assert all(said.count(rare) == 2 for rare in ("table", "lantern", "quince", "zither"))
    assert said.count("ocean") == 1
    assert {"zeebrugge", "bagot"} <= set(said)


def test_a_word_that_is_also_a_name_counts_as_a_word() -> None:
    assert not any("Table" in text for text in texts_of() if " met " in text or " in " in text)


def test_every_text_is_a_sentence_of_few_words() -> None:
    for text in texts_of():
        assert text[0].isupper()
        assert text[-1] in ".!?"
        assert len(words_of(text)) <= 8


def test_what_is_judged_is_never_trained() -> None:
    first = texts_of()[0]
    assert first not in texts_of(exclude={text_hash(first)})


def test_the_same_seed_gives_the_same_texts() -> None:
    assert texts_of(5) == texts_of(5) != texts_of(6)


def test_the_teachers_lexicon_knows_words_and_names() -> None:
    pytest.importorskip("hibari")
    lexicon = read_lexicon()
    assert {"abasement", "Zeebrugge", "colour", "color"} <= lexicon
    assert not any(" " in entry or entry.isupper() for entry in lexicon)


def test_the_corpus_ends_with_the_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_work(tmp_path)
    monkeypatch.setattr(corpus, "read_lexicon", lambda: LEXICON)
    added = corpus.add_lists(tmp_path, TEXTS, exclude=set())
    texts = json.loads((tmp_path / "texts.json").read_text("utf-8"))
    assert texts == TEXTS + added
    grown = Corpus.load(tmp_path / "corpus.npz")
    assert len(grown) == len(texts) > len(TEXTS)
    assert grown.held_out.tolist() == [is_held_out(text) for text in texts]
