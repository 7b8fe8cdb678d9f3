"""Write beside, then rename: an output exists whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowvox.errors import OutputError

_PARTIAL = re.compile(r"\.(\d+)\.partial$")


def partial_sibling(path: Path) -> Path:
    """Where this process writes what is to become `path`."""
    return path.with_name(f"{path.name}.{os.getpid()}.partial")


def check_output(path: Path) -> None:
    """Raise OutputError unless a file can be written to `path`; for use before long work."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it first")
    if not os.access(target if _is_device(target) else target.parent, os.W_OK):
        raise OutputError(f"{path}: no permission to write here; choose another place")


def check_folder(path: Path) -> None:
    """Raise OutputError unless `path` is, or can become, a folder to write files into."""
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise OutputError(f"{there}: is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise OutputError(f"{path}: no permission to write here; choose another place")


def write_beside(path: Path, content: bytes) -> None:
    """Replace the file `path` by `content` in one step. Raises OutputError.

    A link stays a link, to the new content. Devices and pipes (/dev/null) are written to, never
    replaced.
    """
    check_output(path)
    target = Path(os.path.realpath(path))
    temporary = partial_sibling(target)
    try:
        if _is_device(target):
            target.write_bytes(content)
            return
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def file_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling file that becomes `path` when the block ends well.

    On any exception, an interrupt included, it is removed and `path` is as it was. What killed
    processes left is cleared up first. Raises OutputError.
    """
    target = Path(os.path.realpath(path))
    for sibling in _left_by_the_dead(target):
        if sibling.is_file():
            sibling.unlink()
    temporary = partial_sibling(target)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_beside(
    path: Path,
    *,
    overwrite: bool = False,
    resumable: Callable[[Path], bool] = lambda unfinished: False,
) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes `path` when the block ends well.

    On any exception, an interrupt included, the sibling is removed and `path` is as it was. What
    killed processes left is cleared up first. Where `resumable` says of such an unfinished sibling
    that it is worth going on with, it is kept instead, and yielded as it is to the next who writes
    `path`. Raises OutputError if `path` exists.
    """
    path = path.absolute()
    unfinished = _recover(path, resumable)
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; choose another name or pass --overwrite")
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: is a file, and a folder is to be written")
    temporary = partial_sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if unfinished is None:
            temporary.mkdir()
        else:
            unfinished.rename(temporary)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{path.parent}: is not a folder") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        _swap(temporary, path)
    finally:
        if not resumable(temporary):
            shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    """Rename `new` to `path`; what was there before is only deleted once `new` stands."""
    aside = path.with_name(f"{path.name}.old.{os.getpid()}.partial")
    if path.exists():
        path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        if aside.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _recover(path: Path, resumable: Callable[[Path], bool]) -> Path | None:
    """Clear up what dead processes left beside `path`; return what is worth going on with.

    One that died between two renames left the old folder aside, which goes back to its place. This
    process has left nothing yet: in a container, the one before it had the same number.
    """
    unfinished = None
    for sibling in _left_by_the_dead(path):
        if not sibling.is_dir():
            continue
        if f"{path.name}.old." in sibling.name and not path.exists():
            sibling.rename(path)
        elif unfinished is None and resumable(sibling):
            unfinished = sibling
        else:
            shutil.rmtree(sibling, ignore_errors=True)
    return unfinished


def _left_by_the_dead(path: Path) -> Iterator[Path]:
    """Temporary siblings of `path` whose process is no more."""
    for sibling in sorted(path.parent.glob(f"{glob.escape(path.name)}.*.partial")):
        match = _PARTIAL.search(sibling.name)
        if match and not _alive(int(match.group(1))):
            yield sibling


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
