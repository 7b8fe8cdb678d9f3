"""An output exists whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from flowvox.errors import OutputError
from flowvox.files import check_output, file_beside, folder_beside, write_beside


def test_a_folder_appears_when_complete(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "a").read_text() == "1"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    def fails() -> None:
        with folder_beside(tmp_path / "out") as folder:
            (folder / "a").write_text("1")
            raise error

    with pytest.raises(error):
        fails()
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


def test_what_is_worth_going_on_with_is_kept(tmp_path: Path) -> None:
    def holds_a(unfinished: Path) -> bool:
        return (unfinished / "a").exists()

    def interrupted(name: str) -> None:
        with folder_beside(tmp_path / "out", resumable=holds_a) as folder:
            (folder / name).write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted("b")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        interrupted("a")
    (left,) = tmp_path.iterdir()
    left.rename(tmp_path / "out.999999999.partial")  # as another process would have left it
    (tmp_path / "out.999999998.partial").mkdir()
    with folder_beside(tmp_path / "out", resumable=holds_a) as folder:
        assert [p.name for p in folder.iterdir()] == ["a"]
        (folder / "b").write_text("2")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "b"]


def test_files(tmp_path: Path) -> None:
    write_beside(tmp_path / "a", b"1")
    write_beside(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"2"
    with pytest.raises(OutputError, match="no such folder"):
        write_beside(tmp_path / "nowhere" / "a", b"")
    with pytest.raises(OutputError, match="is a folder"):
        write_beside(tmp_path, b"")


def test_an_overwrite_that_died_between_its_two_renames_is_undone(tmp_path: Path) -> None:
    aside = tmp_path / "out.old.999999999.partial"
    aside.mkdir()
    (aside / "a").write_text("old")
    with pytest.raises(OutputError, match="--overwrite"), folder_beside(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_the_old_folder_comes_back_if_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("old")
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial") and ".old." not in self.name:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"), folder_beside(tmp_path / "out", overwrite=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_names_are_not_patterns(tmp_path: Path) -> None:
    """Clearing up after `out*` must not touch what a dead process left of `output`."""
    other = tmp_path / "output.999999999.partial"
    other.mkdir()
    with folder_beside(tmp_path / "out*"):
        pass
    assert other.is_dir()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_beside(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    """As /dev/null would be, by root."""
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    write_beside(pipe, b"sound")
    reader.join(timeout=10)
    assert heard == [b"sound"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["nowhere/a", ".", "a/b"])
def test_outputs_are_checked_without_writing(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(OutputError):
        check_output(tmp_path / name)
    check_output(tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission"):
        check_output(tmp_path / "a")


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        write_beside(tmp_path / ("x" * 250), b"1")
    with pytest.raises(OutputError, match="too long"), folder_beside(tmp_path / ("x" * 250)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_exists_whole_or_not_at_all(tmp_path: Path) -> None:
    out, dead = tmp_path / "x", tmp_path / "x.999999999.partial"
    dead.write_bytes(b"left by a killed process")
    with file_beside(out) as temporary:
        temporary.write_bytes(b"one")
        assert not out.exists()
    assert not dead.exists()
    for error in (KeyboardInterrupt(), OSError(28, "No space left on device")):
        with pytest.raises((KeyboardInterrupt, OutputError)), file_beside(out) as temporary:
            temporary.write_bytes(b"two")
            raise error
    assert out.read_bytes() == b"one"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
