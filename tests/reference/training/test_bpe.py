"""The vocabulary is a tekken file that the project's own tokenizer reads."""

from __future__ import annotations

from pathlib import Path

from flowvox.reference.training.bpe import SPECIALS, learn_bpe, read_tekken, write_tekken
from flowvox.tokenizer import Tokenizer

TEXTS = ["The cat and the dog.", "The dog and the cat sat.", "And then the cat ran."] * 3


def test_frequent_words_become_whole_tokens(tmp_path: Path) -> None:
    tokens = learn_bpe(TEXTS, 280)
    assert tokens[:256] == [bytes([b]) for b in range(256)]
    assert len(set(tokens)) == 280
    assert b" cat" in tokens
    write_tekken(tmp_path / "tekken.json", tokens, {"heart": 3})
    assert read_tekken(tmp_path / "tekken.json") == tokens
    tokenizer = Tokenizer.load(tmp_path / "tekken.json")
    assert tokenizer.encode(" cat") == [tokens.index(b" cat") + SPECIALS]
    assert tokenizer.decode(tokenizer.encode("The zebra, naïve.")) == "The zebra, naïve."
    assert tokenizer.special_id("[NEXT_AUDIO_TEXT]") == 36
