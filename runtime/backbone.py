"""The backbone session with its KV cache in buffers that are allocated once, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.runtime.binding import Memory, Rows
from flowvox.schedule import rope_tables


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
    """

    def __init__(self, session: ort.InferenceSession, config: ModelConfig, positions: int) -> None:
        self._session, self.positions, self.length = session, positions, 0
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
        step = self._decode if len(embeddings) == 1 else self._step(*embeddings.shape)
        self.length += len(embeddings)
        self._total[0] = self.length
        self._seqlens.update_inplace(self._total - 1)
        step.embeddings.update_inplace(np.ascontiguousarray(embeddings[None]))
        self._session.run_with_iobinding(step.binding)
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
