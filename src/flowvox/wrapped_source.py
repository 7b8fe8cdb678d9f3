"""A model source that is another one, but for what a subclass changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.adapter import AdapterRecord
from flowvox.config import ModelConfig
from flowvox.source import ModelSource, Report
from flowvox.tensors import Shape
from flowvox.tokenizer import Tokenizer


class WrappedSource:
    """Implements `flowvox.source.ModelSource` by handing every question on."""

    def __init__(self, base: ModelSource) -> None:
        self._base = base

    @property
    def path(self) -> Path:
        return self._base.path

    @property
    def config(self) -> ModelConfig:
        return self._base.config

    @property
    def shapes(self) -> dict[str, Shape]:
        return self._base.shapes

    @property
    def has_encoder(self) -> bool:
        return self._base.has_encoder

    @property
    def licence(self) -> str:
        return self._base.licence

    @property
    def adapters(self) -> list[AdapterRecord]:
        return self._base.adapters

    def read(self, name: str) -> NDArray[np.float32]:
        return self._base.read(name)

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        return self._base.read_rows(name, start, stop)

    def block_format(self, name: str) -> str | None:
        return self._base.block_format(name)

    def packed(self, name: str) -> NDArray[np.uint8]:
        return self._base.packed(name)

    def stored_bytes(self, name: str) -> int:
        return self._base.stored_bytes(name)

    def voices(self) -> Mapping[str, Any]:
        return self._base.voices()

    def voice(self, name: str) -> NDArray[np.float32]:
        return self._base.voice(name)

    def tokenizer_json(self) -> bytes:
        return self._base.tokenizer_json()

    def tokenizer(self) -> Tokenizer:
        return self._base.tokenizer()

    def source_hash(self, report: Report = lambda done, total: None) -> str:
        return self._base.source_hash(report)

    def zero_rows(self, name: str) -> int:
        return self._base.zero_rows(name)
