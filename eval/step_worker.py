"""One backbone, a position at a time, in a process of its own: a bundle's, or one in llama.cpp.

Protocol: a line with a number of steps on stdin asks; a JSON line with their milliseconds answers, of
wall time and of processor time of all threads. Every request starts after the same PAST positions.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flowvox.machine import memory_use

PAST, MOST_STEPS = 200, 56  # a voice and a sentence; llama.cpp pads its context to 256


class Backbone(Protocol):
    """rows: the embeddings [PAST, dim] that fill the cache."""

    rows: NDArray[np.float32]

    def fill(self) -> None:
        """Compute the first PAST positions."""

    def rewind(self) -> None:
        """Forget what came after the first PAST positions."""

    def step(self, row: NDArray[np.float32]) -> None:
        """Compute the hidden state of the next position, embeddings [1, dim]."""


def main() -> None:
    """`python -m flowvox.eval.step_worker PATH THREADS`."""
    path, threads = Path(sys.argv[1]), int(sys.argv[2])
    started = time.perf_counter()
    backbone: Backbone = _Llama(path, threads) if path.suffix == ".gguf" else _Bundle(path, threads)
    ready = {"load_seconds": time.perf_counter() - started}
    print(json.dumps(ready), flush=True)
    backbone.fill()
    for line in sys.stdin:
        backbone.rewind()
        times, processor = [], []
        for row in backbone.rows[: int(line)]:
            before, spent = time.perf_counter(), time.process_time()
            backbone.step(row[None])
            times.append(1000 * (time.perf_counter() - before))
            processor.append(1000 * (time.process_time() - spent))
        answer = {"ms": times, "processor_ms": processor, "memory": memory_use()}
        print(json.dumps(answer), flush=True)


def _rows(dim: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((PAST, dim), dtype=np.float32)


class _Bundle:
    """The runtime, its pre-packed graph included where there is one."""

    def __init__(self, path: Path, threads: int) -> None:
        from flowvox.bundle import Bundle
        from flowvox.graphs import BACKBONE, graph_specs
        from flowvox.runtime.backbone import BackboneRunner
        from flowvox.runtime.sessions import open_session

        bundle = Bundle.open(path, verify=False)
        session = open_session(
            bundle, graph_specs(bundle.config, encoder=False)[BACKBONE], "cpu", threads
        )
        self._runner = BackboneRunner(session, bundle.config, PAST + MOST_STEPS)
        self.rows = _rows(bundle.config.backbone.dim)

    def fill(self) -> None:
        self._runner(self.rows)

    def rewind(self) -> None:
        self._runner.length = PAST

    def step(self, row: NDArray[np.float32]) -> None:
        self._runner(row)


class _Llama:
    """llama.cpp through llama-cpp-python, cache and attention as it chooses them."""

    def __init__(self, path: Path, threads: int) -> None:
        import llama_cpp as api

        self._silent = api.llama_log_callback(lambda level, text, data: None)
        api.llama_log_set(self._silent, ctypes.c_void_p(0))
        self._api: Any = api
        model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = PAST + MOST_STEPS
        params.n_threads = params.n_threads_batch = threads
        params.embeddings, params.pooling_type = True, 0
        self._context = api.llama_init_from_model(model, params)
        self.rows = _rows(api.llama_model_n_embd(model))
        self._length = 0

    def fill(self) -> None:
        self._decode(self.rows)

    def rewind(self) -> None:
        memory = self._api.llama_get_memory(self._context)
        assert self._api.llama_memory_seq_rm(memory, 0, PAST, -1)
        self._length = PAST

    def step(self, row: NDArray[np.float32]) -> None:
        self._decode(row)
        self._api.llama_get_embeddings_ith(self._context, 0)  # waits for the result

    def _decode(self, rows: NDArray[np.float32]) -> None:
        count, dim = rows.shape
        batch = self._api.llama_batch_init(count, dim, 1)
        batch.n_tokens = count
        ctypes.memmove(batch.embd, np.ascontiguousarray(rows).ctypes.data, rows.nbytes)
        for i in range(count):
            batch.pos[i], batch.n_seq_id[i], batch.logits[i] = self._length + i, 1, i + 1 == count
            batch.seq_id[i][0] = 0
        assert self._api.llama_decode(self._context, batch) == 0
        self._api.llama_batch_free(batch)
        self._length += count


if __name__ == "__main__":
    main()
