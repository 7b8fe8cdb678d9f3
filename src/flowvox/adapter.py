"""The record of a low-rank adapter that was merged into the weights before they were converted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

_KINDS: dict[str, tuple[type, ...]] = {
    "file": (str,),
    "sha256": (str,),
    "scale": (int, float),
    "matrices": (int,),
    "license": (str,),
}
_HASH = re.compile("[0-9a-f]{64}")


class AdapterRecord(TypedDict):
    """file: its name; sha256: of it; scale: on top of its own; matrices: how many it changes."""

    file: str
    sha256: str
    scale: float
    matrices: int
    license: str  # "unknown" where its model card does not say


def parse_records(value: Any) -> list[AdapterRecord]:
    """What a manifest or a GGUF file says. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError("'adapters' is not a list")
    for record in value:
        good = isinstance(record, dict) and all(
            isinstance(record.get(key), kinds) for key, kinds in _KINDS.items()
        )
        if not good or not _HASH.fullmatch(record["sha256"]):
            raise ValueError("'adapters' is malformed")
    return value


def described(adapters: Iterable[AdapterRecord]) -> Iterator[str]:
    """One line for each, for people."""
    for adapter in adapters:
        yield (
            f"{adapter['file']} (sha256 {adapter['sha256'][:12]}) merged into {adapter['matrices']} "
            f"matrices at scale {adapter['scale']:g}, licence: {adapter['license']}"
        )
