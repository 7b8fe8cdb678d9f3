"""Sentences for the corpus: Debian's `fortunes` and WordNet, cleaned to plain English.

Held-out sentences are chosen by hash, so the split never depends on order or on a random state.
Sentences of the evaluation suites are left out altogether.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from flowvox.number_words import cardinal, ordinal
from flowvox.numbers import MONTHS

FORTUNES = Path("/usr/share/games/fortunes")
WORDNET = Path("/usr/share/wordnet")  # Debian's `wordnet-base`
PARTS_OF_SPEECH = ("adj", "adv", "noun", "verb")
LOCATION = "15"  # WordNet's lexicographer file of the nouns that name places
SHORTEST, LONGEST = 12, 120  # characters
LONGEST_JOINED = 230
DEFINITIONS = 30_000  # of 100,000
HELD_OUT_SHARE = 1 / 40
_SENTENCE = re.compile(r"[A-Z][A-Za-z' ,;:\-]*[A-Za-z'][.?!]")
# Abbreviations, run-together words, dashes, single letters.
_UNSPEAKABLE = re.compile(r"\b[A-Z]{2,}\b|[A-Za-z]{16}|--|\b[b-hj-zB-HJ-Z]\b")
_WORD = re.compile(r"[A-Za-z']+")


def words_of(text: str) -> list[str]:
    """The words as they are written, without punctuation."""
    return _WORD.findall(text)


def normalized(text: str) -> str:
    """Lower-case words only: two texts that sound alike compare equal."""
    return " ".join(words_of(text.lower()))


def text_hash(text: str) -> str:
    """16 hex digits of the sha256 of the normalized text."""
    return hashlib.sha256(normalized(text).encode()).hexdigest()[:16]


def parts_of(text: str) -> list[str]:
    """The text itself and each of its sentences."""
    return [text, *re.split(r"(?<=[.?!])\s+", text)]


def is_held_out(text: str) -> bool:
    """True for the sentences that never enter training."""
    return int(text_hash(text), 16) / 16**16 < HELD_OUT_SHARE


def _clean(text: str) -> str | None:
    """The text if it is a plain sentence of a usual length, else None."""
    plain = SHORTEST <= len(text) <= LONGEST and _SENTENCE.fullmatch(text)
    return text if plain and not _UNSPEAKABLE.search(text) else None


def _unique(texts: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(normalized(text), text)
    return list(found.values())


def read_sentences(folder: Path = FORTUNES) -> list[str]:
    """Unique clean sentences of every fortune file that is not another language or ASCII art."""

    def sentences() -> Iterator[str]:
        for file in sorted(folder.iterdir()):
            if file.suffix or file.name in {"ascii-art", "de", "translate-me"} or file.is_dir():
                continue
            for fortune in file.read_text(encoding="utf-8", errors="ignore").split("\n%\n"):
                plain = " ".join(re.sub(r"\t--.*", "", fortune, flags=re.S).split())
                for sentence in re.split(r'(?<=[.?!])["\')]*\s+["\'(]*', plain):
                    if clean := _clean(sentence.strip("\"'() ")):
                        yield clean

    return _unique(sentences())


def _glosses(folder: Path) -> Iterator[str]:
    for part in PARTS_OF_SPEECH:
        for line in (folder / f"data.{part}").read_text("utf-8", errors="ignore").splitlines():
            if not line.startswith("  "):  # the licence is indented
                yield line.partition("|")[2]


def _as_sentence(phrase: str) -> str | None:
    phrase = " ".join(phrase.split()).rstrip(".!?;, ")
    sentence = _clean(phrase[:1].upper() + phrase[1:] + ".")
    return sentence if sentence and len(sentence.split()) >= 3 else None


def read_examples(folder: Path = WORDNET) -> list[str]:
    """Unique clean example phrases out of WordNet's glosses, as sentences of at least three words.

    They hold 29,000 different words, three times as many as the fortunes.
    """
    quoted = (example for gloss in _glosses(folder) for example in re.findall(r'"([^"]+)"', gloss))
    return _unique(s for s in map(_as_sentence, quoted) if s)


def read_definitions(folder: Path = WORDNET) -> list[str]:
    """Unique clean definitions of WordNet, as sentences: the rarest words are here."""
    plain = (re.sub(r'"[^"]*"|\([^)]*\)', "", gloss).split(";")[0] for gloss in _glosses(folder))
    return _unique(s for s in map(_as_sentence, plain) if s)


def read_names(folder: Path = WORDNET, *, places: bool = False) -> list[str]:
    """Proper nouns of WordNet: people, places, works; or places only."""
    found = set()
    for line in (folder / "data.noun").read_text("utf-8", errors="ignore").splitlines():
        if not line.startswith("  "):
            _, kind, _, _, name, *_ = line.split()
            name = name.replace("_", " ")
            proper = re.fullmatch(r"([A-Z][a-z]+)( [A-Z][a-z]+){0,2}", name)
            if proper and (kind == LOCATION or not places):
                found.add(name)
    return sorted(found)


def spelled(number: int) -> str:
    """A whole number in English words, without "and"."""
    return cardinal(number).replace(" and ", " ")


_NUMBERED = (
    "There are {a} of them and {b} of us.", "It costs {a} dollars and {b} cents.",
    "The train leaves at {c} {d} from platform {e}.", "Chapter {e}, page {a}.",
    "In nineteen {d} there were {a} people here.", "Room {a} is on the {o} floor.",
    "The answer is {a}.", "My number is {c}, {e}, {c}, {e}, {c}.", "We waited for {d} minutes.",
    "She counted to {b} and then to {a}.", "About {a} miles, give or take {d}.", "{A}.",
    "The {o} of {m} is {d} days away.", "Is it {a} or {b}?", "{A} plus {e} is not {b}.",
)  # fmt: skip
_ORDINALS = [ordinal(number) for number in (*range(1, 13), 15, 20, 30)]


def number_sentences(count: int, seed: int) -> list[str]:
    """Sentences with numbers in words."""
    rng = random.Random(seed)

    def number() -> str:
        return spelled(rng.randrange(10 ** rng.choice([1, 2, 2, 3, 3, 4, 6])))

    def sentence() -> str:
        a, b = number(), number()
        return rng.choice(_NUMBERED).format(
            a=a, b=b, A=a.capitalize(), c=spelled(rng.randrange(1, 13)),
            d=spelled(rng.randrange(10, 99)), e=spelled(rng.randrange(1, 20)),
            o=rng.choice(_ORDINALS), m=rng.choice(MONTHS),
        )  # fmt: skip

    return _unique(sentence() for _ in range(count))


_NAMED = (
    "{a} met {b} last year.", "My name is {a}.", "{a} lives in {b}.", "Have you read {a}?",
    "This letter is for {a}.", "The road from {a} to {b} is closed.", "Good morning, {a}.",
    "We spoke about {a} and {b}.", "{a} was never in {b}.", "Ask {a}, not {b}.",
)  # fmt: skip


def name_sentences(names: list[str], count: int, seed: int) -> list[str]:
    """Sentences about people and places."""
    rng = random.Random(seed)
    return _unique(
        rng.choice(_NAMED).format(a=rng.choice(names), b=rng.choice(names)) for _ in range(count)
    )


def cut_phrases(sentences: list[str], count: int, seed: int) -> list[str]:
    """Stretches of 1 to 5 words out of the sentences: short utterances, and single words."""
    rng = random.Random(seed)
    phrases: dict[str, str] = {}
    while len(phrases) < count:
        words = rng.choice(sentences).rstrip(".?!").split()
        length = min(len(words), rng.choice([1, 1, 2, 2, 3, 3, 4, 5]))
        start = rng.randrange(len(words) - length + 1)
        phrase = " ".join(words[start : start + length]).strip(",;:- ")
        if len(normalized(phrase)) > 2:
            phrase = phrase[0].upper() + phrase[1:] + rng.choice(".....!?")
            phrases.setdefault(normalized(phrase), phrase)
    return list(phrases.values())


def joined(sentences: list[str], count: int, seed: int) -> list[str]:
    """Two to five sentences in a row: long utterances, and the pauses between sentences."""
    rng = random.Random(seed)
    texts: list[str] = []
    while len(texts) < count:
        text = rng.choice(sentences)
        for _ in range(rng.choice([1, 1, 2, 4])):
            longer = f"{text} {rng.choice(sentences)}"
            text = longer if len(longer) <= LONGEST_JOINED else text
        texts.append(text)
    return texts


def corpus_texts(exclude: set[str]) -> list[str]:
    """Everything that is spoken, shuffled; no sentence whose `text_hash` is in `exclude`.

    Held-out sentences are spoken, too, but by themselves only: no phrase is cut out of them, and no
    longer text holds them.
    """
    sentences = [s for s in read_sentences() if text_hash(s) not in exclude]
    known = {normalized(s) for s in sentences}
    definitions = read_definitions()
    random.Random(6).shuffle(definitions)
    other = [
        s for s in _unique(read_examples() + definitions[:DEFINITIONS])
        if normalized(s) not in known and text_hash(s) not in exclude and not is_held_out(s)
    ]  # fmt: skip
    training = [s for s in sentences if not is_held_out(s)]
    texts = sentences + other
    texts += number_sentences(5000, seed=1) + name_sentences(read_names(), 6000, seed=2)
    texts += cut_phrases(training + other, 10000, seed=3) + joined(training + other, 11000, seed=4)
    texts = [t for t in texts if text_hash(t) not in exclude]
    random.Random(5).shuffle(texts)
    return texts
