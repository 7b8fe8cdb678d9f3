"""The backbone session with its KV cache in buffers that are allocated once."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.graphs import cache_specs
from flowvox.schedule import rope_tables


class BackboneRunner:
    """Feeds positions one after another; `present` is bound to the memory of `past`."""

    def __init__(self, session: ort.InferenceSession, config: ModelConfig, positions: int) -> None:
        self._session, self.positions, self.length = session, positions, 0
        self._binding = session.io_binding()
        self._binding.bind_output("hidden")  # first, so that it is the first of the outputs
        self._rope = rope_tables(config.backbone, positions)
        self._cache: list[ort.OrtValue] = []
        past, present = cache_specs(config, "past"), cache_specs(config, "present")
        for before, after in zip(past, present, strict=True):
            shape = [positions if isinstance(axis, str) else axis for axis in before.shape]
            value = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype=before.dtype))
            self._cache.append(value)
            self._binding.bind_ortvalue_input(before.name, value)
            self._binding.bind_ortvalue_output(after.name, value)
        for name, array in zip(("rope_cos", "rope_sin"), self._rope, strict=True):
            self._binding.bind_cpu_input(name, array)

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """embeddings [S, dim] of the next S positions -> their hidden states [S, dim]."""
        self.length += len(embeddings)
        total = np.array([self.length], dtype=np.int32)
        last = total - 1
        self._binding.bind_cpu_input("embeddings", embeddings[None])
        self._binding.bind_cpu_input("total_length", total)
        self._binding.bind_cpu_input("seqlens_k", last)
        self._binding.bind_output("hidden")  # anew: its length is that of this call
        self._session.run_with_iobinding(self._binding)
        hidden: NDArray[np.float32] = self._binding.get_outputs()[0].numpy()
        return hidden[0]
