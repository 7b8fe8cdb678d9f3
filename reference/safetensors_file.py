"""A strict safetensors reader: one tensor, or some of its rows, at a time; bf16 included, no torch.

Layout: u64 header length, JSON header {name: {dtype, shape, data_offsets}}, then the bytes. They are
read, not mapped: pages of a mapped file would count as this process's memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import CheckpointError
from flowvox.tensors import Shape

MAX_HEADER = 64 << 20
MAX_AXES = 8
ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
NUMPY_TYPES = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}
CHUNK = 1 << 22  # bytes that one streamed read holds


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies in the file: dtype, shape, first byte, number of bytes."""

    dtype: str
    shape: Shape
    start: int
    size: int


class SafetensorsFile:
    """One .safetensors file, header validated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
                    raise self._damaged("its header is cut short")
                header = json.loads(file.read(length))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError):
            raise self._damaged("its header is not JSON") from None
        self.tensors = self._parse(header, 8 + length, size)

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {what}; the file is damaged, download it again")

    def _parse(self, header: Any, base: int, file_size: int) -> dict[str, StoredTensor]:
        if not isinstance(header, dict):
            raise self._damaged("its header is not a JSON object")
        tensors = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            try:
                dtype, shape = entry["dtype"], tuple(entry["shape"])
                start, end = entry["data_offsets"]
                whole = all(type(n) is int and n >= 0 for n in (*shape, start, end))
            except (KeyError, TypeError, ValueError):
                raise self._damaged(f"the entry of {name} is malformed") from None
            if dtype not in ITEM_BYTES:
                raise CheckpointError(
                    f"{self.path}: {name} is stored as {dtype}; flowvox reads BF16, F16 and F32"
                )
            if not whole or len(shape) > MAX_AXES:
                raise self._damaged(f"the entry of {name} is malformed")
            if end - start != math.prod(shape) * ITEM_BYTES[dtype]:
                raise self._damaged(f"the size of {name} does not fit its shape")
            if base + end > file_size:
                raise self._damaged(f"it ends before {name} does")
            tensors[name] = StoredTensor(dtype, shape, base + start, end - start)
        position = base
        for name, stored in sorted(tensors.items(), key=lambda item: item[1].start):
            if stored.start != position:
                raise self._damaged(f"{name} overlaps its neighbour or leaves a gap")
            position += stored.size
        if position != file_size:
            raise self._damaged("it has more bytes than its header tells")
        return tensors

    def read(self, name: str) -> NDArray[np.float32]:
        """The tensor as a fresh float32 array. Raises CheckpointError."""
        shape = self.tensors[name].shape
        return self._values(name, 0, math.prod(shape)).reshape(shape)

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows start ... stop - 1 of the tensor as a fresh float32 array. Raises CheckpointError."""
        shape = self.tensors[name].shape
        row = math.prod(shape[1:])
        return self._values(name, start * row, (stop - start) * row).reshape(-1, *shape[1:])

    def _values(self, name: str, first: int, count: int) -> NDArray[np.float32]:
        """`count` values of the flattened tensor from number `first` on."""
        stored = self.tensors[name]
        offset = stored.start + first * ITEM_BYTES[stored.dtype]
        try:
            raw = np.fromfile(self.path, NUMPY_TYPES[stored.dtype], count, offset=offset)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error.strerror})") from None
        if len(raw) != count:
            raise self._damaged(f"it ends before {name} does")
        if stored.dtype != "BF16":
            return raw.astype(np.float32)
        wide = raw.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)

    def chunks(self) -> Iterator[bytes]:
        """The whole file in pieces, for hashing."""
        with self.path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece


def header_bytes(shapes: dict[str, Shape]) -> bytes:
    """Length and JSON header of a BF16 file with these tensors in this order, padded to 8 bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        offsets = [position, position + size]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": offsets}
        position += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
