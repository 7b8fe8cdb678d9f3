"""Where a GGUF file is written: beside its place, then renamed. Only GGUF files are ever replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowvox.errors import OutputError
from flowvox.exporters.gguf.reader import is_gguf
from flowvox.files import check_output


def check_target(out: Path, size: int, *, overwrite: bool) -> None:
    """Raise OutputError unless a file of so many bytes can be written to `out`."""
    check_output(out)
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: exists already; choose another name or pass --overwrite")
    if out.exists() and not is_gguf(out):
        raise OutputError(f"{out}: is not a GGUF file, so it is not overwritten")
    free = shutil.disk_usage(out.absolute().parent).free
    if free < size:
        raise OutputError(f"{out}: needs {size / 1e9:.2f} GB, but only {free / 1e9:.2f} are free")


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """Yield a temporary sibling that becomes `out` when the block ends well, and is removed if not."""
    target = Path(os.path.realpath(out))
    temporary = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
