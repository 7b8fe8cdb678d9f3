"""Reading suites: what is wrong is named in one line; which utterances a part gets."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowvox.eval.suite import FOLDER, Suite, SuiteError, list_suites, load_suite, parse_suite

LIMITS = {"max_seconds": 9, "frames": 40, "teacher_forced": 3, "codec": 2, "free_running": "all", "speed": 1}  # fmt: skip
GROUPS = {
    "plain": [{"id": f"plain-{i}", "text": f"Text {i}."} for i in range(3)],
    "names": [{"id": "names-0", "text": "Ann.", "tags": ["person"], "voices": ["low"]}],
}
GOOD: dict[str, Any] = {
    "schema": 1, "name": "mine", "version": 2, "description": "Ours.", "voices": "all", "seeds": [5, 0],
    "limits": LIMITS, "groups": GROUPS,
}  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner)
    ),
    max_leaves=6,
)


def parsed(**changes: Any) -> Suite:
    return parse_suite({**GOOD, **changes}, "0" * 64, "here")


def sentence(**changes: Any) -> dict[str, Any]:
    """Groups of one sentence."""
    return {"groups": {"plain": [{"id": "a", "text": "One.", **changes}]}}


def limit(**changes: Any) -> dict[str, Any]:
    return {"limits": {**LIMITS, **changes}}


def keys(suite: Suite, part: Any, voices: list[str]) -> list[str]:
    return [utterance.key for utterance in suite.utterances(part, voices)]


def test_a_suite_by_name_and_by_path(tmp_path: Path) -> None:
    copied = tmp_path / "copy.yaml"
    copied.write_bytes((FOLDER / "smoke.yaml").read_bytes())
    assert load_suite(copied) == load_suite(str(copied)) == load_suite("smoke")
    assert load_suite("smoke").sha256 == hashlib.sha256(copied.read_bytes()).hexdigest()


def test_the_hash_tells_two_files_apart(tmp_path: Path) -> None:
    changed = tmp_path / "smoke.yaml"
    changed.write_text((FOLDER / "smoke.yaml").read_text("utf-8").replace("heron", "egret"))
    assert load_suite(changed).sha256 != load_suite("smoke").sha256


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        SuiteError, match="huge: neither a suite file nor one of figures, long, smoke, stan"
    ):
        load_suite("huge")
    assert list_suites() == sorted(list_suites())


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\xfa", b"when: 2024-13-45"])
def test_a_file_that_is_no_yaml(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(SuiteError, match=r"bad\.yaml: not valid YAML") as caught:
        load_suite(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_what_a_suite_holds() -> None:
    suite = parsed()
    assert [(s.id, s.group, s.tags, s.voices) for s in suite.sentences][2:] == [
        ("plain-2", "plain", (), ()),
        ("names-0", "names", ("person",), ("low",)),
    ]
    assert (suite.version, suite.seeds, suite.limits.max_seconds) == (2, (5, 0), 9.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"colour": 1}, "here: unknown key 'colour'; there are schema, name"),
     ({"schema": 2}, "schema is 2, this flowvox reads 1"), ({"name": "a b"}, "name is 'a b'"),
     ({"version": 0}, "version"), ({"version": True}, "version"), ({"description": " "}, "description is empty"),
     ({"voices": []}, "voices"), ({"voices": ["a", "a"]}, "voices names one twice"),
     ({"seeds": []}, "seeds"), ({"seeds": [-1]}, "seeds"), ({"seeds": [1 << 64]}, "seeds"),
     ({"seeds": [0, 0]}, "seed occurs twice"), ({"limits": {"frames": 1}}, "limits: max_seconds is missing"),
     (limit(steps=7), "unknown key 'steps'"), (limit(max_seconds=0), "max_seconds should be above 0"),
     (limit(max_seconds=float("nan")), "max_seconds"), (limit(frames=1.5), "frames"),
     (limit(codec=0), "codec is 0; it should be all or"), (limit(speed="few"), "speed is 'few'"),
     (limit(free_running=3), "multiple of 2, the number of seeds"), ({"groups": {}}, "groups"),
     ({"groups": {"plain": []}}, "group plain should be a list"),
     ({"groups": {"plain": ["One."]}}, "group plain, sentence 1: should be a mapping with id, text"),
     (sentence(mood="sad"), "unknown key 'mood'"), (sentence(text="  "), "sentence 1: text is empty"),
     (sentence(text=False), "text is False, which YAML takes for no text; put it in quotes"),
     (sentence(id="a/b"), "id is 'a/b'"), (sentence(tags="digits"), "tags should be a list"),
     (sentence(voices=[]), "voices should be a list"),
     ({"groups": {"a": GROUPS["plain"], "b": GROUPS["plain"]}}, "the id plain-0 occurs twice")],
)  # fmt: skip
def test_mistakes_are_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SuiteError, match=says) as caught:
        parsed(**change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_every_key_is_needed(key: str) -> None:
    with pytest.raises(SuiteError, match=f"here: {key} is missing"):
        parse_suite({k: v for k, v in GOOD.items() if k != key}, "", "here")


@given(data=st.data(), value=ANYTHING)
def test_anything_anywhere_is_read_or_refused_in_one_line(data: st.DataObject, value: Any) -> None:
    """One place of a good suite, at whatever depth, holds something else."""
    suite = copy.deepcopy(GOOD)
    place: Any = suite
    while True:
        key = data.draw(
            st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
        )
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    try:
        found = parse_suite(suite, "", "here")
    except SuiteError as error:
        assert str(error).startswith("here")
        assert "\n" not in str(error)
    else:
        assert all(s.text.strip() for s in found.sentences)
        assert len({s.id for s in found.sentences}) == len(found.sentences) >= 1


@given(ANYTHING)
def test_any_yaml_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(SuiteError) as caught:
        parse_suite(yaml.safe_load(yaml.safe_dump(value)), "", "here")
    assert "\n" not in str(caught.value)


def test_only_free_running_speech_has_every_seed() -> None:
    suite = parsed()
    assert keys(suite, "codec", ["low", "high"]) == ["plain-0/low/5", "names-0/low/5"]
    free = keys(suite, "free_running", ["low", "high"])
    assert len(free) == len(set(free)) == (3 * 2 + 1) * 2
    assert Counter(key.split("/")[2] for key in free) == {"5": 7, "0": 7}


def test_a_cut_list_has_every_group_and_every_voice() -> None:
    groups = {g: [{"id": f"{g}{i}", "text": "One."} for i in range(4)] for g in ("a", "b")}
    suite = parsed(groups=groups, **limit(teacher_forced=8))
    chosen = suite.utterances("teacher_forced", ["low", "high"])
    assert Counter((u.sentence.group, u.voice) for u in chosen) == {
        (group, voice): 2 for group in "ab" for voice in ("low", "high")
    }
    assert len({u.sentence.id for u in chosen}) == 8


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    """What was measured under a smaller limit stays usable under a larger one."""
    few = keys(load_suite("standard"), "teacher_forced", ["a", "b", "c"])
    suite = load_suite("standard")
    more = [u.key for u in suite.utterances("free_running", ["a", "b", "c"])]
    assert more[: len(few)] == few


@pytest.mark.parametrize("change", [{"voices": ["deep"]}, sentence(voices=["deep"])])
def test_a_voice_that_is_not_there_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match="suite mine needs the voice deep; there are low, high"):
        parsed(**change).utterances("speed", ["low", "high"])


def test_a_suite_cut_short_keeps_whole_sets_of_seeds() -> None:
    suite = parsed()
    assert suite.at_most(2).limits == replace(suite.limits, teacher_forced=2, free_running=2)
    assert suite.at_most(3).limits.free_running == 2
    assert suite.at_most(1).limits.free_running == 2
    whole, cut = (keys(s, "free_running", ["high", "low"]) for s in (suite, suite.at_most(4)))
    assert cut == whole[:4]


def test_other_seeds_are_as_many() -> None:
    assert parsed().with_seeds("2, 3").seeds == (2, 3)
    for wrong in ("", "2", "2,2", "2,x", "-1,2", f"1,{1 << 64}"):
        with pytest.raises(SuiteError, match="seeds"):
            parsed().with_seeds(wrong)
