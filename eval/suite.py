"""Suites: what a bundle has to say when it is judged. Versioned, pure data, YAML.

    schema: 1             # of this format
    name: mine
    version: 1            # of the contents: raise it when a text, a seed or a limit changes
    description: ...
    voices: all           # or a list of names
    seeds: [0, 1]
    limits: {max_seconds: 15, frames: 40, teacher_forced: 8, codec: 8, free_running: all, speed: 4}
    groups:
      numbers:
        - {id: numbers-01, tags: [digits, time], text: "Bus 14 leaves at 7:20."}

Shipped suites lie beside this file in `suites/`. A sentence may name the `voices` that say it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowvox.errors import MissingPackageError
from flowvox.eval.suite_data import PARTS, Count, Limits, Sentence, Suite, SuiteError, Utterance

__all__ = ["Limits", "Sentence", "Suite", "SuiteError", "Utterance", "list_suites", "load_suite"]

SCHEMA = 1
FOLDER = Path(__file__).parent / "suites"
LONGEST_SECONDS = 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_KEYS = ("schema", "name", "version", "description", "voices", "seeds", "limits", "groups")
_LIMITS = ("max_seconds", "frames", *PARTS)


def list_suites() -> list[str]:
    """Names of the shipped suites."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_suite(name_or_path: str | Path) -> Suite:
    """A shipped suite by name, or a YAML file by path. Raises SuiteError."""
    shipped = str(name_or_path) in list_suites()
    path = FOLDER / f"{name_or_path}.yaml" if shipped else Path(name_or_path)
    try:
        import yaml
    except ImportError:
        raise MissingPackageError('suites need PyYAML; pip install "flowvox[eval]"') from None
    try:
        content = path.read_bytes()
    except (OSError, ValueError):
        raise SuiteError(
            f"{name_or_path}: neither a suite file nor one of {', '.join(list_suites())}"
        ) from None
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:
        # PyYAML lets the errors of its conversions through: a date of month 13, `!!bool maybe`.
        reason = " ".join(str(error).split())
        raise SuiteError(f"{name_or_path}: not valid YAML ({reason})") from None
    return parse_suite(data, hashlib.sha256(content).hexdigest(), str(name_or_path))


def parse_suite(data: Any, sha256: str, where: str) -> Suite:
    """Check plain data. Raises SuiteError naming the place, the key and what is allowed."""
    row = _mapping(data, _KEYS, _KEYS, where)
    if row["schema"] != SCHEMA:
        raise SuiteError(f"{where}: schema is {row['schema']!r}, this flowvox reads {SCHEMA}")
    seeds = tuple(row["seeds"]) if isinstance(row["seeds"], list) else ()
    if not seeds or not all(_whole(seed, 0) and seed < 1 << 64 for seed in seeds):
        raise SuiteError(f"{where}: seeds should be a list of whole numbers from 0 to 2^64 - 1")
    if len(set(seeds)) < len(seeds):
        raise SuiteError(f"{where}: a seed occurs twice")
    if not _whole(row["version"], 1):
        raise SuiteError(f"{where}: version should be a whole number from 1")
    return Suite(
        name=_name(row["name"], "name", where),
        version=row["version"],
        description=_text(row["description"], "description", where),
        sentences=_sentences(row["groups"], where),
        voices="all" if row["voices"] == "all" else _names(row["voices"], "voices", where),
        seeds=seeds,
        limits=_limits(row["limits"], len(seeds), f"{where}: limits"),
        sha256=sha256,
    )


def _limits(data: Any, seeds: int, where: str) -> Limits:
    row = _mapping(data, _LIMITS, _LIMITS, where)
    seconds = row["max_seconds"]
    if type(seconds) not in {int, float} or not 0 < seconds <= LONGEST_SECONDS:
        raise SuiteError(f"{where}: max_seconds should be above 0, at most {LONGEST_SECONDS:.0f}")
    if not _whole(row["frames"], 1):
        raise SuiteError(f"{where}: frames should be a whole number from 1")
    counts = {part: _count(row[part], part, where) for part in PARTS}
    free = counts["free_running"]
    if free != "all" and free % seeds:
        raise SuiteError(
            f"{where}: free_running is {free}; it should be a multiple of {seeds}, the number of seeds"
        )
    return Limits(max_seconds=float(seconds), frames=row["frames"], **counts)


def _count(value: Any, key: str, where: str) -> Count:
    if value == "all":
        return "all"
    if not _whole(value, 1):
        raise SuiteError(f"{where}: {key} is {value!r}; it should be all or a whole number from 1")
    return int(value)


def _sentences(data: Any, where: str) -> tuple[Sentence, ...]:
    if not isinstance(data, Mapping) or not data:
        raise SuiteError(f"{where}: groups should map names to lists of sentences")
    found: dict[str, Sentence] = {}
    for group, rows in data.items():
        name = _name(group, "the name of a group", where)
        if not isinstance(rows, list) or not rows:
            raise SuiteError(f"{where}: group {name} should be a list of sentences")
        for number, row in enumerate(rows, 1):
            sentence = _sentence(row, name, f"{where}: group {name}, sentence {number}")
            if sentence.id in found:
                raise SuiteError(f"{where}: the id {sentence.id} occurs twice")
            found[sentence.id] = sentence
    return tuple(found.values())


def _sentence(data: Any, group: str, where: str) -> Sentence:
    row = _mapping(data, ("id", "text"), ("id", "text", "tags", "voices"), where)
    return Sentence(
        id=_name(row["id"], "id", where),
        text=_text(row["text"], "text", where),
        tags=_names(row["tags"], "tags", where) if "tags" in row else (),
        group=group,
        voices=_names(row["voices"], "voices", where) if "voices" in row else (),
    )


def _mapping(
    data: Any, needed: tuple[str, ...], allowed: tuple[str, ...], where: str
) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise SuiteError(f"{where}: should be a mapping with {', '.join(needed)}")
    for key in data:
        if key not in allowed:
            raise SuiteError(f"{where}: unknown key {key!r}; there are {', '.join(allowed)}")
    for key in needed:
        if key not in data:
            raise SuiteError(f"{where}: {key} is missing")
    return data


def _names(value: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise SuiteError(f"{where}: {key} should be a list of names")
    names = tuple(_name(name, f"each of {key}", where) for name in value)
    if len(set(names)) < len(names):
        raise SuiteError(f"{where}: {key} names one twice")
    return names


def _name(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise SuiteError(f"{where}: {key} is {value!r}; it should be letters, digits, '-' and '_'")
    return value


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        raise SuiteError(
            f"{where}: {key} is {value!r}, which YAML takes for no text; put it in quotes"
        )
    if not value.strip():
        raise SuiteError(f"{where}: {key} is empty")
    return " ".join(value.split())


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least
