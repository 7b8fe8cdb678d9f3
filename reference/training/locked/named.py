"""Sentences with the names of people and places.

The teacher's lexicons have most places, but only one in sixteen of the 10,000 most frequent surnames
and one in nine of the first names. Those of the United States' census come from the package `names`.
They stand in the corpus' own sentences, so that what surrounds a name is not always the same.
"""

from __future__ import annotations

import random
import re
from importlib import resources

from flowvox.reference.training.locked.lists import lists_of
from flowvox.reference.training.text import is_held_out, text_hash

WOMEN, MEN, SURNAMES = 2000, 1000, 12_000  # the most frequent names
COUNT = 32_000
_TITLES = ("Mr.", "Mrs.", "Ms.", "Dr.", "Professor", "Captain", "Senator", "Judge")
_RELATIVES = ("Aunt", "Uncle", "Cousin", "Saint", "King", "Lady")
_ONE = re.compile(r"(He|She|Someone) (?!who)[^.]+\.")
_SEVERAL = re.compile(r"(We|They) (?!who)[^.]+\.")
_PLACED = (" in {}.", " near {}.", " from {}.", " to {} and {}.", " between {} and {}.")
_WITH = " with {}."


def read_census() -> tuple[list[str], list[str]]:
    """WOMEN and MEN first names, and SURNAMES surnames, capitalized."""
    assets = resources.files("names")

    def column(file: str, count: int) -> list[str]:
        lines = (assets / file).read_text("ascii").splitlines()[:count]
        return [line.split()[0].capitalize() for line in lines]

    first = column("dist.female.first", WOMEN) + column("dist.male.first", MEN)
    return list(dict.fromkeys(first)), column("dist.all.last", SURNAMES)


def named_sentences(
    texts: list[str], places: list[str], exclude: set[str], count: int, seed: int
) -> list[str]:
    """About `count` of `texts` with names for their pronouns, and lists of names.

    None is made of a held-out sentence of `texts`, or has its hash in `exclude`.
    """
    rng = random.Random(seed)
    first, last = read_census()
    usable = [text for text in texts if not is_held_out(text)]
    one = [text for text in usable if _ONE.fullmatch(text)]
    several = [text for text in usable if _SEVERAL.fullmatch(text)]
    ends = [*((end, places) for end in _PLACED), (_WITH, first)]

    def person() -> str:
        kind = rng.random()
        if kind < 0.4:
            return rng.choice(first)
        if kind < 0.75:
            return f"{rng.choice(first)} {rng.choice(last)}"
        if kind < 0.93:
            return f"{rng.choice(_TITLES)} {rng.choice(last)}"
        return f"{rng.choice(_RELATIVES)} {rng.choice(first)}"

    def people() -> str:
        *others, final = (person() for _ in range(rng.choice((2, 2, 3))))
        return f"{', '.join(others)} and {final}"

    def sentence() -> str:
        who, carriers = rng.choice(((person, one), (person, one), (people, several)))
        text = f"{who()} {rng.choice(carriers).split(' ', 1)[1]}"
        if rng.random() < 0.4:
            end, names = rng.choice(ends)
            text = text[:-1] + end.format(*rng.sample(names, 2))
        return text

    names = rng.sample(first + last, len(first) + len(last))
    made = [*lists_of(names, rng), *(sentence() for _ in range(count))]
    rng.shuffle(made)
    return [text for text in dict.fromkeys(made) if text_hash(text) not in exclude]
