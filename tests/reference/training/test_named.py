"""Sentences with the names of people and places."""

from __future__ import annotations

import re

import pytest

from flowvox.reference.training.locked import named
from flowvox.reference.training.text import text_hash

FIRST, LAST, PLACES = (
    ["Ada", "Basil", "Cleo", "Dora"],
    ["Okafor", "Lindqvist"],
    ["Lagos", "Mount Etna"],
)
CORPUS = [
    "He went home.",
    "She sings well.",
    "They sold the boat.",
    "We never met.",
    "A dog barked.",
]
OTHERS = re.findall(
    r"\w+",
    "and in near from to between with Mr Mrs Ms Dr Professor Captain Senator Judge"
    " Aunt Uncle Cousin Saint King Lady",
)


@pytest.fixture(autouse=True)
def few_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "read_census", lambda: (FIRST, LAST))


def texts_of(seed: int = 3, exclude: set[str] | None = None) -> list[str]:
    return named.named_sentences(CORPUS, PLACES, exclude or set(), count=60, seed=seed)


def test_names_take_the_place_of_pronouns() -> None:
    predicates = {text.split(" ", 1)[1].rstrip(".") for text in CORPUS[:4]}
    known = {*FIRST, *LAST, *" ".join(PLACES).split(), *" ".join(predicates).split(), *OTHERS}
    texts = texts_of()
    assert {word for text in texts for word in re.findall(r"\w+", text)} <= known
    for predicate in predicates:
        assert any(predicate in text for text in texts)


def test_only_several_people_are_several() -> None:
    for text in texts_of():
        if "sold the boat" in text or "never met" in text:
            assert " and " in text.partition("sold" if "sold" in text else "never")[0]


def test_every_name_is_also_in_a_list() -> None:
    lists = [
        text for text in texts_of() if not set(re.findall(r"\w+", text)) - {*FIRST, *LAST, "and"}
    ]
    assert {*FIRST, *LAST} <= {word for text in lists for word in re.findall(r"\w+", text)}


def test_what_is_judged_or_held_out_is_never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    first = texts_of()[0]
    assert first not in texts_of(exclude={text_hash(first)})
    assert any("sold the boat" in text for text in texts_of())
    monkeypatch.setattr(named, "is_held_out", lambda text: text == "They sold the boat.")
    assert not any("sold the boat" in text for text in texts_of())


def test_the_same_seed_gives_the_same_texts() -> None:
    assert texts_of(5) == texts_of(5) != texts_of(6)


def test_the_census_has_usual_names(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("names")
    monkeypatch.undo()
    first, last = named.read_census()
    assert {"Margaret", "Theodore", "Siobhan"} <= set(first)
    assert {"Hernandez", "Patel", "Nakamura"} <= set(last)
    assert len(last) == named.SURNAMES
