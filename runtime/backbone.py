"""The backbone session with its KV cache in buffers that are allocated once, on the device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.runtime.binding import Memory, Rows, run_bound
from flowvox.runtime.providers import CUDA
from flowvox.schedule import rope_tables

ENABLED = "enable_cuda_graph"
NO_GRAPH = -1  # the id of runs that are neither captured nor replayed


@dataclass(frozen=True)
class _Step:
    """A binding for calls of S positions. embeddings: input [1, S, dim]; hidden: output, likewise."""

    binding: ort.IOBinding
    embeddings: ort.OrtValue
    hidden: ort.OrtValue


class BackboneRunner:
    """Feeds positions one after another; `present` is bound to the memory of `past`.

    positions: how many fit. `total_length` alone stays on the host: GroupQueryAttention reads it there
    on every provider (its CUDA kernel declares input 6 as CPU memory).

    graph_id: the steps of one position are a CUDA graph of this id, where the session has CUDA graphs
    enabled. What a step reads on the host is part of it, so `total_length` is then the length of the
    cache at every step, of which `seqlens_k`, on the device, tells how much is valid.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        config: ModelConfig,
        positions: int,
        graph_id: int | None = None,
    ) -> None:
        self._session, self.positions, self.length = session, positions, 0
        self._captured = graph_id is not None
        self._prompt_options = _run_options(NO_GRAPH)
        self._step_options = _run_options(NO_GRAPH if graph_id is None else graph_id)
        self._memory = memory = Memory.of(session)
        cos, sin = rope_tables(config.backbone, positions)
        self._total = np.zeros(1, dtype=np.int32)
        self._seqlens = memory.put(np.zeros(1, dtype=np.int32))
        self._inputs = {
            "seqlens_k": self._seqlens,
            "total_length": Memory().put(self._total),
            "rope_cos": memory.put(cos),
            "rope_sin": memory.put(sin),
        }
        self._cache = {
            declared.name.removeprefix("past"): memory.zeros(declared, max_positions=positions)
            for declared in session.get_inputs()
            if declared.name.startswith("past.")
        }
        self._decode = self._step(1, config.backbone.dim)

    def __call__(self, embeddings: NDArray[np.float32]) -> Rows:
        """embeddings [S, dim] of the next S positions -> their hidden states, until the next call."""
        single = len(embeddings) == 1
        step = self._decode if single else self._step(*embeddings.shape)
        options = self._step_options if single else self._prompt_options
        self.length += len(embeddings)
        self._total[0] = self.positions if single and self._captured else self.length
        self._seqlens.update_inplace(np.array([self.length - 1], dtype=np.int32))
        step.embeddings.update_inplace(np.ascontiguousarray(embeddings[None]))
        run_bound(self._session, step.binding, options)
        return Rows.of(step.hidden)

    def _step(self, count: int, dim: int) -> _Step:
        shape = (1, count, dim)
        embeddings = self._memory.put(np.zeros(shape, dtype=np.float32))
        hidden = self._memory.put(np.zeros(shape, dtype=np.float32))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("embeddings", embeddings)
        for name, value in self._inputs.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output("hidden", hidden)
        for name, value in self._cache.items():
            binding.bind_ortvalue_input(f"past{name}", value)
            binding.bind_ortvalue_output(f"present{name}", value)
        return _Step(binding, embeddings, hidden)


class BackboneRunners:
    """The runners of a session: one for each utterance, and of captured ones, one that is kept.

    A captured graph holds the addresses of its cache and stays with the session for good. So the runner
    serves one utterance after another, and a longer one, or one at the same time, gets another of
    twice the size.
    """

    def __init__(self, session: ort.InferenceSession, config: ModelConfig) -> None:
        self._session, self._config = session, config
        self._captured = session.get_provider_options().get(CUDA, {}).get(ENABLED) == "1"
        self._ids = itertools.count(1)
        self._kept: list[BackboneRunner] = []

    @contextmanager
    def runner(self, positions: int) -> Iterator[BackboneRunner]:
        """One with an empty cache for so many positions, for one utterance."""
        if not self._captured:
            yield BackboneRunner(self._session, self._config, positions)
            return
        runner = self._kept.pop() if self._kept else None
        if runner is None or runner.positions < positions:
            size = 1 << (positions - 1).bit_length()
            runner = BackboneRunner(self._session, self._config, size, next(self._ids))
        runner.length = 0
        try:
            yield runner
        finally:
            self._kept = [runner]


def _run_options(graph_id: int) -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return options
