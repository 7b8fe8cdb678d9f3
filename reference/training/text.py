"""Sentences for the corpus: Debian's `fortunes` and WordNet's examples, cleaned to plain English.

Held-out sentences are chosen by hash, so the split never depends on order or on a random state.
"""

from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path

FORTUNES = Path("/usr/share/games/fortunes")
WORDNET = Path("/usr/share/wordnet")  # Debian's `wordnet-base`
SHORTEST, LONGEST = 12, 120  # characters
HELD_OUT_SHARE = 1 / 40
_SENTENCE = re.compile(r"[A-Z][A-Za-z' ,;:\-]*[A-Za-z'][.?!]")
# Abbreviations, run-together words, dashes, single letters.
_UNSPEAKABLE = re.compile(r"\b[A-Z]{2,}\b|[A-Za-z]{16}|--|\b[b-hj-zB-HJ-Z]\b")
_WORD = re.compile(r"[A-Za-z']+")


def normalized(text: str) -> str:
    """Lower-case words only: two texts that sound alike compare equal."""
    return " ".join(_WORD.findall(text.lower()))


def text_hash(text: str) -> str:
    """16 hex digits of the sha256 of the normalized text."""
    return hashlib.sha256(normalized(text).encode()).hexdigest()[:16]


def is_held_out(text: str) -> bool:
    """True for the sentences that never enter training."""
    return int(text_hash(text), 16) / 16**16 < HELD_OUT_SHARE


def read_sentences(folder: Path = FORTUNES) -> list[str]:
    """Unique clean sentences of every fortune file that is not another language or ASCII art."""
    found: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix or file.name in {"ascii-art", "de", "translate-me"} or file.is_dir():
            continue
        for fortune in file.read_text(encoding="utf-8", errors="ignore").split("\n%\n"):
            plain = " ".join(re.sub(r"\t--.*", "", fortune, flags=re.S).split())
            for sentence in re.split(r'(?<=[.?!])["\')]*\s+["\'(]*', plain):
                clean = sentence.strip("\"'() ")
                if not SHORTEST <= len(clean) <= LONGEST or not _SENTENCE.fullmatch(clean):
                    continue
                if _UNSPEAKABLE.search(clean):
                    continue
                found.setdefault(normalized(clean), clean)
    return list(found.values())


def read_examples(folder: Path = WORDNET) -> list[str]:
    """Unique clean example phrases out of WordNet's glosses, as sentences of at least three words.

    They hold 29,000 different words, three times as many as the fortunes. Held-out ones are left
    out altogether, so that the held-out set stays the fortunes' own.
    """
    found: dict[str, str] = {}
    for part in ("adj", "adv", "noun", "verb"):
        for line in (folder / f"data.{part}").read_text("utf-8", errors="ignore").splitlines():
            gloss = (
                "" if line.startswith("  ") else line.partition("|")[2]
            )  # the licence is indented
            for example in re.findall(r'"([^"]+)"', gloss):
                phrase = " ".join(example.split()).rstrip(".!?;, ")
                clean = phrase[:1].upper() + phrase[1:] + "."
                if not SHORTEST <= len(clean) <= LONGEST or not _SENTENCE.fullmatch(clean):
                    continue
                if len(clean.split()) < 3 or _UNSPEAKABLE.search(clean) or is_held_out(clean):
                    continue
                found.setdefault(normalized(clean), clean)
    return list(found.values())


def cut_phrases(sentences: list[str], count: int, seed: int) -> list[str]:
    """Stretches of 1 to 5 words out of the sentences: the easy part of the curriculum."""
    rng = random.Random(seed)
    phrases: dict[str, str] = {}
    while len(phrases) < count:
        words = rng.choice(sentences).rstrip(".?!").split()
        length = min(len(words), rng.choice([1, 2, 2, 3, 3, 4, 5]))
        start = rng.randrange(len(words) - length + 1)
        phrase = " ".join(words[start : start + length]).strip(",;:- ")
        if len(normalized(phrase)) > 2:
            phrase = phrase[0].upper() + phrase[1:] + "."
            phrases.setdefault(normalized(phrase), phrase)
    return list(phrases.values())
