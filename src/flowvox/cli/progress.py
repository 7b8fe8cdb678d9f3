"""Progress bars: on stderr, and only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Report = Callable[[int, int], None]


def byte_progress(label: str) -> AbstractContextManager[Report]:
    """Yields report(done, total) in bytes; the bar shows the time left."""
    return _progress(label, DownloadColumn())


def step_progress(label: str) -> AbstractContextManager[Report]:
    """The same for things that are counted."""
    return _progress(label, MofNCompleteColumn())


@contextmanager
def _progress(label: str, amount: ProgressColumn) -> Iterator[Report]:
    console = Console(stderr=True)
    columns = (TextColumn(label), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield report
