"""Write beside, then rename: an output exists whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowvox.errors import OutputError

_PARTIAL = re.compile(r"\.(\d+)\.partial$")


def check_output(path: Path) -> None:
    """Raise OutputError unless a file can be written to `path`; for use before long work."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it first")
    if not os.access(target if _is_device(target) else target.parent, os.W_OK):
        raise OutputError(f"{path}: no permission to write here; choose another place")


def write_beside(path: Path, content: bytes) -> None:
    """Replace the file `path` by `content` in one step. Raises OutputError.

    A link stays a link, to the new content. Devices and pipes (/dev/null) are written to, never
    replaced.
    """
    check_output(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{target.name}.{os.getpid()}.partial")
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
def folder_beside(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes `path` when the block ends well.

    On any exception, an interrupt included, the sibling is removed and `path` is as it was. What
    killed processes left is cleared up first. Raises OutputError if `path` exists.
    """
    path = path.absolute()
    _recover(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; choose another name or pass --overwrite")
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: is a file, and a folder is to be written")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{path.parent}: is not a folder") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        _swap(temporary, path)
    finally:
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


def _recover(path: Path) -> None:
    """Remove what dead processes left beside `path`; one that died between two renames left the old
    folder aside, which then goes back to its place."""
    for sibling in sorted(path.parent.glob(f"{glob.escape(path.name)}.*.partial")):
        match = _PARTIAL.search(sibling.name)
        if not match or not sibling.is_dir() or _alive(int(match.group(1))):
            continue
        if f"{path.name}.old." in sibling.name and not path.exists():
            sibling.rename(path)
        else:
            shutil.rmtree(sibling, ignore_errors=True)


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
