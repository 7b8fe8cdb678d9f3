"""Chains of utterances: long texts for a language model whose sentences are short."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.training.made_up import TEXTS, make_work

from flowvox.reference.training.alignment import spoken_tokens
from flowvox.reference.training.corpus import Corpus, text_encoder
from flowvox.reference.training.locked import chains


@given(st.lists(st.tuples(st.integers(8, 190), st.integers(1, 48)), min_size=4, max_size=60))
def test_a_chain_has_one_voice_and_an_end(utterances: list[tuple[int, int]]) -> None:
    frames, words = np.array(utterances).T
    voice = np.arange(len(frames)) % 2
    for chain in chains.draw(frames, words, voice, seed=3):
        assert len(chain) > 1
        assert len(set(voice[chain])) == 1
        assert frames[chain].sum() <= chains.FRAMES[1]
        assert words[chain].sum() <= chains.MOST_WORDS


def test_no_chain_where_no_two_utterances_are_short_enough() -> None:
    frames, words = np.full(6, 300), np.full(6, 40)
    assert chains.draw(frames, words, np.zeros(6, int), seed=3) == []


def rows_of(folder: Path) -> list[dict[str, object]]:
    """An utterance of 60 frames for each made-up sentence, its words in equal shares."""
    corpus = Corpus.load(folder / "corpus.npz")
    return [
        {
            "codes": np.full((60, 36), number, np.uint8),
            "labels": np.zeros((60, 4), np.uint8),
            "word": np.arange(60) * words // 60,
            "voice": 0,
            "words": words,
            "sentence": number,
        }
        for number, words in enumerate(corpus.words)
    ]


def test_the_words_of_a_chain_are_those_of_its_text(tmp_path: Path) -> None:
    make_work(tmp_path)
    rows = rows_of(tmp_path)
    before = len(Corpus.load(tmp_path / "corpus.npz"))
    added = chains.add_chains(tmp_path, rows)
    corpus = Corpus.load(tmp_path / "corpus.npz")
    texts = json.loads((tmp_path / "texts.json").read_text("utf-8"))
    assert len(texts) == len(corpus) == before + len(added)
    assert added
    encoder = text_encoder([bytes([b]) for b in range(256)])
    first = np.cumsum(corpus.token_counts) - corpus.token_counts
    for row in added:
        number = row["sentence"]
        span = slice(first[number], first[number] + corpus.token_counts[number])
        assert encoder.decode(corpus.tokens[span].tolist()) == texts[number]
        assert row["words"] == len(texts[number].split())
        # the last frame speaks the last letter of the last sentence
        spoken = spoken_tokens(row["word"], corpus.word[span], corpus.size[span])
        assert spoken[-1] == len(texts[number]) - 1
        assert texts[number].endswith(TEXTS[row["codes"][-1, 0]])


def test_what_is_held_out_is_in_no_chain(tmp_path: Path) -> None:
    make_work(tmp_path)
    corpus = Corpus.load(tmp_path / "corpus.npz")
    used = {
        int(n) for row in chains.add_chains(tmp_path, rows_of(tmp_path)) for n in row["codes"][:, 0]
    }
    assert used
    assert not corpus.held_out[list(used)].any()


def test_no_chain_is_held_out_by_its_own_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_work(tmp_path)
    corpus = tmp_path / "corpus.npz"
    before = len(Corpus.load(corpus))
    monkeypatch.setattr(chains, "is_held_out", lambda text: text.startswith("A cat"))
    added = chains.add_chains(tmp_path, rows_of(tmp_path))
    texts = json.loads((tmp_path / "texts.json").read_text("utf-8"))[before:]
    assert len(added) == len(texts) == len(Corpus.load(corpus)) - before > 0
    assert not any(text.startswith("A cat") for text in texts)
    assert [row["sentence"] for row in added] == list(range(before, before + len(added)))


def test_words_that_nobody_counted_are_unknown(tmp_path: Path) -> None:
    make_work(tmp_path)
    corpus = Corpus.load(tmp_path / "corpus.npz")
    first, second = rows_of(tmp_path)[:2]
    first["words"] = 99  # the teacher reads another number of words than the text has
    row = chains.joined([first, second], [int(n) for n in corpus.words[:2]], 16)
    assert (row["word"][:60] == -1).all()
    assert row["word"][60] == corpus.words[0]
