"""Texts for words that no sentence of the corpus has: lists of words, and sentences with names.

Which sound a spelling has is learned word by word. The teacher's own lexicons know 82,000 words and
9,000 names; 57,000 and 6,400 of them are in no sentence. A list is the cheapest text that has them.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from importlib import resources

from flowvox.reference.training.text import name_sentences, text_hash, words_of

LEXICONS = ("us_gold", "gb_gold")
RARE = 3  # a word that the corpus has less often counts like one that it never has
USUAL_WORDS, NAME_SENTENCES = 20_000, 9_000
LENGTHS = (1, 2, 3, 3, 4, 4, 5, 6, 7)  # words of a list, equally likely
_ENTRY = re.compile(r"[A-Za-z][a-z]+('[a-z]+)?")


def read_lexicon() -> set[str]:
    """Entries of hibari's lexicons, American and British, of 3 to 14 letters; names are capitalized."""
    assets = resources.files("hibari") / "assets"
    entries: set[str] = set()
    for name in LEXICONS:
        packed = (assets / f"lexicon_{name}.json.gz").read_bytes()
        entries.update(w for w in json.loads(gzip.decompress(packed)) if _ENTRY.fullmatch(w))
    return {entry for entry in entries if 3 <= len(entry) <= 14}


def lists_of(words: list[str], rng: random.Random) -> Iterator[str]:
    """The words in lists: between commas, between spaces, the last of some after "and"."""
    while words:
        length = min(rng.choice(LENGTHS), len(words))
        items = [words.pop() for _ in range(length)]
        between = rng.choice([", ", " ", " "])
        text = between.join(items)
        if length > 2 and between == ", " and rng.random() < 0.5:
            text = ", ".join(items[:-1]) + " and " + items[-1]
        yield text[0].upper() + text[1:] + rng.choice("....!?")


def lexicon_texts(lexicon: set[str], corpus: list[str], exclude: set[str], seed: int) -> list[str]:
    """Shuffled lists and sentences; no text whose `text_hash` is in `exclude` or the corpus'.

    Words that the corpus has less than RARE times are in two lists each, every name and some of the
    usual words in one.
    """
    rng = random.Random(seed)
    seen = Counter(word for text in corpus for word in words_of(text))
    lower = {entry for entry in lexicon if entry[0].islower()}
    names = sorted(entry for entry in lexicon - lower if entry.lower() not in lower)
    rare = sorted(w for w in lower if seen[w] + seen[w.capitalize()] < RARE)
    usual = sorted(lower.difference(rare))
    words = rng.sample(rare, len(rare)) + rng.sample(rare, len(rare))
    words += rng.sample(usual, min(USUAL_WORDS, len(usual))) + names
    rng.shuffle(words)
    texts = [*lists_of(words, rng), *name_sentences(names, NAME_SENTENCES, seed=seed + 1)]
    known = exclude | {text_hash(text) for text in corpus}
    texts = [text for text in dict.fromkeys(texts) if text_hash(text) not in known]
    rng.shuffle(texts)
    return texts
