"""A model with an adapter merged into its weights, one tensor at a time as they are read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.adapter import AdapterRecord
from flowvox.errors import AdapterError
from flowvox.reference.lora.adapter import Adapter
from flowvox.source import ModelSource, Report
from flowvox.wrapped_source import WrappedSource


class MergedSource(WrappedSource):
    """W + scale * (alpha / r) B A, in float32. Everything but the adapted matrices is the base's."""

    def __init__(self, base: ModelSource, path: Path, scale: float = 1.0) -> None:
        """path: see `Adapter`. Raises AdapterError or CheckpointError."""
        super().__init__(base)
        self._scale = scale
        self._adapter = Adapter(path, base.config, base.shapes)
        self._sha256 = self._adapter.sha256()

    @property
    def adapters(self) -> list[AdapterRecord]:
        """The licence of the whole is the base's; the adapter's is in here."""
        record: AdapterRecord = {
            "file": self._adapter.path.name,
            "sha256": self._sha256,
            "scale": self._scale,
            "matrices": len(self._adapter.matrices),
            "license": self._adapter.licence,
        }
        return [*self._base.adapters, record]

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32. Raises CheckpointError, AdapterError."""
        if name not in self._adapter.matrices:
            return self._base.read(name)
        return self._merge(name, self._base.read(name), 0)

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Raises as `read`."""
        rows = self._base.read_rows(name, start, stop)
        return self._merge(name, rows, start) if name in self._adapter.matrices else rows

    def block_format(self, name: str) -> str | None:
        """None for what is merged: its values are no longer those of the stored blocks."""
        return None if name in self._adapter.matrices else self._base.block_format(name)

    def packed(self, name: str) -> NDArray[np.uint8]:
        """Raises AdapterError for what is merged."""
        if name in self._adapter.matrices:
            raise AdapterError(f"{self.path}: {name} is merged, its blocks are not it any more")
        return self._base.packed(name)

    def source_hash(self, report: Report = lambda done, total: None) -> str:
        """Of base, adapter and every scale: equal for equal merged weights of the same files."""
        scales = {
            tensor: self._scale * factors.scale
            for tensor, factors in self._adapter.matrices.items()
        }
        said = [self._base.source_hash(report), self._sha256, scales]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def zero_rows(self, name: str) -> int:
        if name not in self._adapter.matrices:
            return self._base.zero_rows(name)
        return int((~self.read(name).any(axis=1)).sum())

    def _merge(self, name: str, rows: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        """Add to `rows`, which begin at row `start`, what the adapter changes."""
        rows += np.float32(self._scale) * self._adapter.change(name, start, start + len(rows))
        if not np.isfinite(rows).all():
            raise AdapterError(
                f"{self._adapter.path}: {name} is not finite after merging; is the scale too large?"
            )
        return rows
