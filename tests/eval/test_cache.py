"""Results are computed once per key; damage and failures are never stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowvox.eval.cache import Cache


class Work:
    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.done += 1
        return {"codes": np.arange(3, dtype=np.int32), "text": np.array("gehört")}


def test_the_second_time_is_free(tmp_path: Path) -> None:
    work = Work()
    first = Cache(tmp_path).arrays(("speak", "abc", 0), work)
    again = Cache(tmp_path).arrays(("speak", "abc", 0), work)
    assert work.done == 1
    assert again["codes"].dtype == np.int32
    assert (again["codes"] == first["codes"]).all()
    assert str(again["text"]) == "gehört"


@pytest.mark.parametrize("other", [("speak", "abc", 1), ("speak", "abd", 0), ("decode", "abc", 0)])
def test_another_question_is_asked(tmp_path: Path, other: tuple[object, ...]) -> None:
    work, cache = Work(), Cache(tmp_path)
    cache.arrays(("speak", "abc", 0), work)
    cache.arrays(other, work)
    assert work.done == 2


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", b"\x80\x04N."])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: bytes) -> None:
    work, cache = Work(), Cache(tmp_path)
    cache.arrays(("a",), work)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage)
    assert (cache.arrays(("a",), work)["codes"] == np.arange(3)).all()
    assert work.done == 2


def test_a_failure_is_not_stored(tmp_path: Path) -> None:
    def fail() -> dict[str, np.ndarray]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Cache(tmp_path).arrays(("a",), fail)
    assert list(tmp_path.iterdir()) == []
