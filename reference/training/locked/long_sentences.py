"""Long sentences: several of the corpus in one, between commas and conjunctions.

Chains (chains.py) are as long, but every few words they come to a full stop. In a sentence of 60 words
nothing but the words tells a language model where it is.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from typing import Any

from flowvox.reference.training.locked.chains import joined
from flowvox.reference.training.text import is_held_out, text_hash

COUNT = 2400
WORDS = (25, 90)  # fewest and most that are aimed at
PIECE_WORDS = 30  # words after which the teacher pauses
_BETWEEN = (", ", ", ", ", and ", ", and ", ", but ", "; ", ", so ", ", because ", ", while ")
# First words that lose their capital inside a sentence.
_START = re.compile(
    r"(A|An|The|This|That|These|Those|He|She|It|We|You|They|There|His|Her|Its|Our|Your|Their|My|In|On"
    r"|At|If|When|As|After|Before|For|No|Nobody|Some|All|Every|What|Who|Where|How|Why) "
)
_CLAUSE = re.compile(r"[^.?!;:]+\.")


def _drawn(clauses: list[str], rng: random.Random) -> list[str]:
    """At least two of the clauses, with about as many words together as a number out of WORDS."""
    target, found = rng.randint(*WORDS), [rng.choice(clauses), rng.choice(clauses)]
    while sum(len(clause.split()) for clause in found) < target - 5:  # half a clause
        found.append(rng.choice(clauses))
    return found


def long_sentences(
    texts: list[str], exclude: set[str], count: int, seed: int
) -> list[tuple[str, list[str]]]:
    """(sentence, the pieces of it that the teacher says in one go); " ".join(pieces) is the sentence.

    None has a held-out sentence of `texts` in it, is held out itself, or has its hash in `exclude`.
    """
    rng = random.Random(seed)
    clauses = [
        text[:-1] for text in texts
        if _CLAUSE.fullmatch(text) and _START.match(text) and not is_held_out(text)
    ]  # fmt: skip
    found: dict[str, list[str]] = {}
    while len(found) < count:
        first, *others = _drawn(clauses, rng)
        pieces = [first]
        for clause in others:
            between = rng.choice(_BETWEEN)
            clause = clause[0].lower() + clause[1:]
            if len(pieces[-1].split()) < PIECE_WORDS:
                pieces[-1] += between + clause
            else:
                pieces[-1] += between[0]
                pieces.append(between[1:].lstrip() + clause)
        pieces[-1] += "."
        sentence = " ".join(pieces)
        if text_hash(sentence) not in exclude and not is_held_out(sentence):
            found.setdefault(sentence, pieces)
    return list(found.items())


def from_pieces(pieces: dict[int, list[str]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row of `utterance`'s kind for each sentence, by number, whose pieces were all spoken."""
    spoken = defaultdict(list)
    for row in rows:
        spoken[row["sentence"]].append(row)
    return [
        joined(spoken[number], [len(piece.split()) for piece in parts], number)
        for number, parts in pieces.items()
        if len(spoken[number]) == len(parts)
    ]
