"""What a model is converted and spoken from: a checkpoint folder, or a GGUF file.

Implemented by `Checkpoint` of `flowvox.reference.checkpoint` and `GgufCheckpoint` of
`flowvox.exporters.gguf.reader`; `MergedSource` of `flowvox.reference.lora.merged` is one of these with
an adapter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flowvox.adapter import AdapterRecord
from flowvox.config import ModelConfig
from flowvox.tensors import WeightSource, component_of
from flowvox.tokenizer import Tokenizer

Report = Callable[[int, int], None]


class ModelSource(WeightSource, Protocol):
    """Weights by name with everything else that belongs to a model. Reading raises FlowvoxError."""

    @property
    def path(self) -> Path: ...
    @property
    def config(self) -> ModelConfig: ...
    @property
    def has_encoder(self) -> bool: ...
    @property
    def licence(self) -> str: ...
    @property
    def adapters(self) -> list[AdapterRecord]:
        """What was merged into the weights."""
        ...

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Some steps along the first axis of a tensor."""
        ...

    def block_format(self, name: str) -> str | None:
        """Name of the ggml blocks that a matrix is stored in; None where it is not."""
        ...

    def packed(self, name: str) -> NDArray[np.uint8]:
        """The blocks of such a matrix, [rows, bytes of a row]."""
        ...

    def stored_bytes(self, name: str) -> int:
        """Size of a tensor in its file."""
        ...

    def voices(self) -> Mapping[str, Any]:
        """By name, sorted; the values are the source's own business."""
        ...

    def voice(self, name: str) -> NDArray[np.float32]:
        """Rows [N, dim]."""
        ...

    def tokenizer_json(self) -> bytes:
        """A tekken.json."""
        ...

    def tokenizer(self) -> Tokenizer: ...

    def source_hash(self, report: Report = ...) -> str:
        """sha256 of the weights, for the record of where a conversion came from."""
        ...

    def zero_rows(self, name: str) -> int:
        """Number of all-zero rows of a matrix."""
        ...


def stored_components(source: ModelSource) -> dict[str, dict[str, Any]]:
    """parameters, bytes and bits_per_weight by component, as the source's own file has them."""
    found: dict[str, dict[str, Any]] = {}
    for name, shape in source.shapes.items():
        component = component_of(name) or "text head (unused)"
        entry = found.setdefault(component, {"parameters": 0, "bytes": 0})
        entry["parameters"] += math.prod(shape)
        entry["bytes"] += source.stored_bytes(name)
    for entry in found.values():
        entry["bits_per_weight"] = round(8 * entry["bytes"] / entry["parameters"], 3)
    return found
