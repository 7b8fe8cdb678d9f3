"""Write beside, then rename: an output exists whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowvox.errors import OutputError

_PARTIAL = re.compile(r"\.(\d+)\.partial$")


def write_beside(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step. Raises OutputError where its folder is missing."""
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it first")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes `path` when the block ends well.

    On any exception, an interrupt included, the sibling is removed and `path` is as it was. Siblings
    left by processes that were killed are removed too. Raises OutputError if `path` exists.
    """
    path = path.absolute()
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; choose another name or pass --overwrite")
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: is a file, and a folder is to be written")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{path.parent}: is not a folder") from None
    _remove_stale(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    temporary.mkdir()
    try:
        yield temporary
        aside = path.with_name(f"{path.name}.old.{os.getpid()}.partial")
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(path: Path) -> None:
    for sibling in path.parent.glob(f"{path.name}.*.partial"):
        match = _PARTIAL.search(sibling.name)
        if match and sibling.is_dir() and not _alive(int(match.group(1))):
            shutil.rmtree(sibling, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
