"""What takes longest in several processes at once: artifacts speak and are listened to, ahead of time.

Everything goes into the cache and nothing is returned: the evaluation that follows finds it there. What
fails here fails there again, and is reported there.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from flowvox.eval.artifact import Artifact, open_artifact, with_sampling
from flowvox.eval.cache import Cache
from flowvox.eval.ears import Ears
from flowvox.eval.measure import Measurement, speak
from flowvox.eval.suite_data import Suite, Utterance
from flowvox.machine import cores, memory_bytes
from flowvox.schedule import Sampling

MEMORY_OF_A_JOB = 2 << 30  # bytes; the listeners take one
CHUNK = 4  # utterances a process is given at a time


def most_jobs() -> int:
    """How many processes this machine has cores and memory for."""
    return max(1, min(cores(), (memory_bytes() or 0) // MEMORY_OF_A_JOB))


@dataclass(frozen=True)
class Requests:
    """What an artifact has to say. sampling: None is its own."""

    path: Path
    sampling: Sampling | None
    utterances: Sequence[Utterance]


@dataclass
class Pool:
    """jobs processes that fill the cache; with one there is no gain and nothing is done."""

    suite: Suite
    cache: Cache
    ears: Ears
    jobs: int

    def steps(self, requests: Iterable[Requests]) -> int:
        """How often `speak` ticks."""
        return sum(len(request.utterances) for request in requests) if self.jobs > 1 else 0

    def speak(self, requests: Iterable[Requests], tick: Callable[[], None]) -> None:
        """Everything is spoken and heard; `tick` is called for each utterance."""
        limit = self.suite.limits.max_seconds
        self._run(
            _speak,
            [
                (replace(request, utterances=request.utterances[i : i + CHUNK]), limit)
                for request in requests
                for i in range(0, len(request.utterances), CHUNK)
            ],
            tick,
        )

    def measure(self, paths: Sequence[Path], baseline: Path) -> None:
        """The levels that compare with the baseline, which has spoken and been measured."""
        self._run(_measure, [(path, baseline, self.suite) for path in paths], lambda: None)

    def _run(
        self, work: Callable[..., int], tasks: list[tuple[Any, ...]], tick: Callable[[], None]
    ) -> None:
        if self.jobs < 2 or not tasks:
            return
        with (
            suppress(BrokenProcessPool),
            ProcessPoolExecutor(
                min(self.jobs, len(tasks)),
                get_context("spawn"),
                _start,
                (self.cache.folder, unloaded(self.ears)),
            ) as pool,
        ):
            running: list[Future[int]] = [pool.submit(work, *task) for task in tasks]
            for done in as_completed(running):
                for _ in range(done.result()):
                    tick()


def unloaded(ears: Ears) -> Ears:
    """The same listeners without what they have loaded, which may not be what can be pickled."""

    def bare(model: Any) -> Any:
        twin = copy.copy(model)
        for name, value in vars(type(model)).items():
            if isinstance(value, cached_property):
                vars(twin).pop(name, None)
        return twin

    opinions = {name: bare(model) for name, model in ears.opinions.items()}
    return replace(
        ears, recognizer=bare(ears.recognizer), speaker=bare(ears.speaker), opinions=opinions
    )


# Of the worker process: where to, who listens, and the artifact that spoke last.
_cache: Cache
_ears: Ears
_opened: tuple[Path, Artifact] | None = None


def _start(folder: Path, ears: Ears) -> None:
    global _cache, _ears
    _cache, _ears = Cache(folder), ears
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(ImportError):
        import torch

        torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A killed evaluation must not leave workers that wait, and hold a GB each, for ever."""
    parent = parent_process()
    assert parent is not None, "started by a pool"
    parent.join()
    os._exit(1)


def _speak(requests: Requests, limit: float) -> int:
    global _opened
    with suppress(Exception):
        if _opened is None or _opened[0] != requests.path:
            _opened = requests.path, open_artifact(requests.path, threads=1)
        artifact = _opened[1]
        if requests.sampling is not None:
            artifact = with_sampling(artifact, requests.sampling)
        for utterance in requests.utterances:
            with suppress(Exception):
                said = speak(artifact, utterance, limit, _cache)
                _ears.listen(said.samples, _cache)
    return len(requests.utterances)


def _measure(path: Path, baseline: Path, suite: Suite) -> int:
    with suppress(Exception):
        first = open_artifact(baseline, threads=1)
        measurement = Measurement(suite, first, _cache, _ears, lambda: None)
        measurement.measure(first)
        measurement.measure(open_artifact(path, threads=1))
    return 1
