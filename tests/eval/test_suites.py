"""The shipped suites: unseen by training, balanced, and of the kinds they promise."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from flowvox.eval.suite import Suite, list_suites, load_suite
from flowvox.reference.training.text import normalized, text_hash
from flowvox.runtime.plan import PIECE_CHARACTERS

# Of Debian's fortunes and WordNet, which are the corpus.
SEEN = ("War is like love, it always finds a way.", "All parties ratified the peace treaty.",
        "Does a good programmer refuse to maintain his code?")  # fmt: skip
SECONDS_PER_CHARACTER = 0.06  # measured with hibari on the standard and the long suite: 0.057-0.066
# All that hibari's American G2P used in 1,500 sentences of Debian's fortunes.
PHONEMES = "AIOTWYbdfhijklmnpstuvwzæðŋɐɑɔəɛɜɡɪɹʃʊʌʒʤʧθᵊᵻ"
FEWEST = 12  # of each phoneme; 64 fortunes drawn at random lacked one in 6 of 8 draws


@pytest.fixture(scope="module")
def training_hashes(tiny: Path) -> frozenset[str]:
    """Hashes of every text that models/tiny was trained on, as the training wrote them."""
    return frozenset((tiny / "training-text-hashes.txt").read_text("utf-8").split())


def spoken_parts(text: str) -> list[str]:
    """The text and each of its sentences, cut as the corpus was cut."""
    return [text, *re.split(r'(?<=[.?!])["\')]*\s+["\'(]*', text)]


def seen(texts: list[str], hashes: frozenset[str]) -> list[str]:
    """Those that occur in the training corpus, whole or in a sentence of theirs."""
    return [t for t in texts if any(text_hash(part) in hashes for part in spoken_parts(t))]


def texts_of(suite: Suite) -> list[str]:
    return [sentence.text for sentence in suite.sentences]


@pytest.mark.parametrize("name", list_suites())
def test_no_text_occurs_in_the_training_corpus(name: str, training_hashes: frozenset[str]) -> None:
    texts = texts_of(load_suite(name))
    assert all(normalized(part) for text in texts for part in spoken_parts(text))
    assert seen(texts, training_hashes) == []


def test_the_search_finds_what_training_has_seen(training_hashes: frozenset[str]) -> None:
    assert len(training_hashes) > 10_000
    assert seen(list(SEEN), training_hashes) == list(SEEN)
    shouted = [text.upper().rstrip(".") + " !" for text in SEEN]
    assert seen(shouted, training_hashes) == shouted
    inside = [f"A gray heron stood still. {text} Nobody saw it." for text in SEEN]
    assert seen(inside, training_hashes) == inside


def test_ids_and_texts_are_unique() -> None:
    """Ids within a suite; texts over all of them, so that suites are independent samples."""
    suites = [load_suite(name) for name in list_suites()]
    for suite in suites:
        assert len({s.id for s in suite.sentences}) == len(suite.sentences)
    texts = Counter(normalized(text) for suite in suites for text in texts_of(suite))
    assert [text for text, count in texts.items() if count > 1] == []


def test_sizes() -> None:
    assert list_suites() == ["figures", "long", "smoke", "standard"]
    assert len(load_suite("smoke").sentences) == 12
    assert len(load_suite("smoke").seeds) == 2
    assert len(load_suite("standard").sentences) >= 100
    assert 6 <= len(load_suite("long").sentences) <= 10
    for name in list_suites():
        assert load_suite(name).name == name
    assert all(load_suite(name).voices == "all" for name in list_suites())


def test_the_standard_suite_has_every_kind_of_text() -> None:
    sentences = load_suite("standard").sentences
    groups = Counter(s.group for s in sentences)
    assert set(groups) == {"plain", "numbers", "questions", "names", "short", "long"}
    assert groups["plain"] >= 60
    assert min(groups.values()) >= 10
    tags = {s.group: set[str]() for s in sentences}
    for sentence in sentences:
        tags[sentence.group].update(sentence.tags)
        if sentence.group == "questions":
            assert sentence.text.endswith("?")
        if sentence.group == "short":
            words = len(sentence.text.split())
            assert sentence.tags == (("one-word", "two-words", "three-words")[words - 1],)
    assert tags["numbers"] >= {"time", "money", "date", "percent", "ordinal", "decimal", "year"}
    assert tags["questions"] >= {"yes-no", "wh", "choice", "tag"}
    assert tags["names"] == {"person", "place", "company", "title"}
    assert {s.group for s in load_suite("smoke").sentences} == set(groups)


def test_what_the_small_model_is_judged_on_spells_numbers_out() -> None:
    """It has seen words only; digits stand in the suite that is named after them, and in `long`."""
    for name in ("smoke", "standard"):
        assert not any(c.isdigit() for text in texts_of(load_suite(name)) for c in text)
    assert all(any(c.isdigit() for c in text) for text in texts_of(load_suite("figures")))


@pytest.mark.parametrize("name", list_suites())
def test_texts_with_figures_are_tagged(name: str) -> None:
    for sentence in load_suite(name).sentences:
        assert ("digits" in sentence.tags) == any(c.isdigit() for c in sentence.text), sentence.id


def test_lengths() -> None:
    """Standard: up to 30 s in one run of the model. Long: half a minute to one and a half."""
    standard = [len(text) for text in texts_of(load_suite("standard"))]
    assert 25 < SECONDS_PER_CHARACTER * max(standard) < 30
    assert max(standard) <= PIECE_CHARACTERS
    long = [len(text) for text in texts_of(load_suite("long"))]
    assert min(long) * SECONDS_PER_CHARACTER >= 30
    assert max(long) * SECONDS_PER_CHARACTER <= 90
    assert min(long) <= PIECE_CHARACTERS < max(long), "some in one run, some in several"
    for name in list_suites():
        longest = max(len(text) for text in texts_of(load_suite(name)))
        assert load_suite(name).limits.max_seconds >= 1.5 * SECONDS_PER_CHARACTER * longest


def test_the_plain_sentences_hold_every_phoneme_often_enough() -> None:
    hibari = pytest.importorskip("hibari.g2p")
    speak = hibari.G2P()
    plain = [s.text for s in load_suite("standard").sentences if s.group == "plain"]
    counts = Counter(symbol for text in plain for symbol in speak(text))
    assert {p: counts[p] for p in PHONEMES if counts[p] < FEWEST} == {}
    assert set(counts) - set(PHONEMES) <= set(" ˈˌ.,!?;:—"), "a phoneme that the list lacks"
