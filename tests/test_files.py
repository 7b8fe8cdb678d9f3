"""An output exists whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvox.errors import OutputError
from flowvox.files import folder_beside, write_beside


def test_a_folder_appears_when_complete(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "a").read_text() == "1"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), folder_beside(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_old_folder_survives_a_failed_overwrite(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "out") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(OutputError, match="--overwrite"), folder_beside(tmp_path / "out"):
        pass
    with pytest.raises(ValueError, match="x"), folder_beside(tmp_path / "out", overwrite=True):
        raise ValueError("x")
    assert (tmp_path / "out" / "a").read_text() == "old"
    with folder_beside(tmp_path / "out", overwrite=True) as folder:
        (folder / "b").write_text("new")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b"]


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "out.999999999.partial").mkdir()
    with folder_beside(tmp_path / "out"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_files(tmp_path: Path) -> None:
    write_beside(tmp_path / "a", b"1")
    write_beside(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"2"
    with pytest.raises(OutputError, match="no such folder"):
        write_beside(tmp_path / "nowhere" / "a", b"")
    with pytest.raises(OutputError, match="is a folder"):
        write_beside(tmp_path, b"")
