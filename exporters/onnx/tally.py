"""How far a conversion is: bytes of the checkpoint that went into the bundle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from flowvox.source import ModelSource, Report
from flowvox.tensors import component_of

Progress = Callable[[str], AbstractContextManager[Report]]


@contextmanager
def silent(label: str) -> Iterator[Report]:
    """Progress that nobody sees."""
    yield lambda done, total: None


class Tally:
    """Counts the tensors of `components`, each once."""

    def __init__(self, source: ModelSource, components: Collection[str], report: Report) -> None:
        self._left = {
            name: source.stored_bytes(name)
            for name in source.shapes
            if component_of(name) in components
        }
        self._report, self._total = report, sum(self._left.values())

    def read(self, name: str) -> None:
        """A tensor is being converted."""
        self._left.pop(name, None)
        self._tell()

    def finished(self, component: str) -> None:
        """Nothing is left of a component."""
        self._left = {n: size for n, size in self._left.items() if component_of(n) != component}
        self._tell()

    def _tell(self) -> None:
        self._report(self._total - sum(self._left.values()), self._total)
