"""The GGUF container, read and trusted in nothing.

Layout (little-endian, version 2 or 3): "GGUF", u32 version, u64 tensors, u64 keys; the keys, each name,
u32 type, value; per tensor its name, u32 axes, u64 sizes (innermost first), u32 type, u64 offset from
the start of the data, which begins at the next multiple of `general.alignment`. Whatever a number
claims is compared with the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flowvox.errors import CheckpointError
from flowvox.quantizers.ggml.formats import FORMATS, TYPES, BlockFormat, Bytes
from flowvox.tensors import Shape

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER = 16 << 20
MAX_COUNT = 1 << 20  # tensors, keys, elements of an array
MAX_NAME = 64
MAX_AXES = 4
ALIGNMENTS = {1 << n for n in range(3, 17)}
CHUNK = 1 << 22  # bytes that one streamed read holds
SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies: format, shape (outermost axis first), first byte, number of bytes."""

    form: type[BlockFormat]
    shape: Shape
    start: int
    size: int

    @property
    def row_size(self) -> int:
        """Bytes of one step along the first axis."""
        return self.size // self.shape[0]


class GgufFile:
    """Metadata and tensors of a file. Raises CheckpointError for anything malformed."""

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._size = path.stat().st_size
            with path.open("rb") as file:
                self._read_header(_Cursor(file, self._size, path))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None

    def read(self, name: str, start: int, stop: int) -> Bytes:
        """Bytes [stop - start, row size] of some steps along the first axis."""
        stored = self.tensors[name]
        offset, size = stored.start + start * stored.row_size, (stop - start) * stored.row_size
        try:
            data = np.fromfile(self.path, np.uint8, size, offset=offset)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error.strerror})") from None
        if len(data) != size:
            raise _damaged(self.path, f"it ends before {name} does")
        return data.reshape(stop - start, stored.row_size)

    def chunks(self) -> Iterator[bytes]:
        """The whole file in pieces, for hashing."""
        with self.path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece

    def _read_header(self, cursor: _Cursor) -> None:
        if cursor.take(4) != MAGIC:
            raise CheckpointError(f"{self.path}: not a GGUF file")
        version = cursor.number("<I")
        if version not in VERSIONS:
            raise CheckpointError(
                f"{self.path}: GGUF version {version}; flowvox reads little-endian versions 2 and 3"
            )
        tensors, keys = cursor.count("<Q", 24), cursor.count("<Q", 13)
        self.metadata = {}
        for _ in range(keys):
            key = cursor.text()
            if key in self.metadata:
                raise _damaged(self.path, f"the key {key} is there twice")
            self.metadata[key] = cursor.value(cursor.number("<I"))
        alignment = self.metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment not in ALIGNMENTS:
            raise _damaged(self.path, f"its alignment is {alignment!r}")
        found = [self._tensor(cursor, alignment) for _ in range(tensors)]
        base = -(-cursor.position // alignment) * alignment
        self.tensors = {
            name: StoredTensor(form, shape, base + offset, size)
            for name, form, shape, offset, size in found
        }
        if len(self.tensors) < len(found):
            raise _damaged(self.path, "a tensor is there twice")
        self._check_places()

    def _tensor(
        self, cursor: _Cursor, alignment: int
    ) -> tuple[str, type[BlockFormat], Shape, int, int]:
        """(name, format, shape, offset, bytes) of the next tensor."""
        name = cursor.text(MAX_NAME)
        axes = cursor.number("<I")
        if not 1 <= axes <= MAX_AXES:
            raise _damaged(self.path, f"{name} has {axes} axes")
        shape = tuple(cursor.number("<Q") for _ in range(axes))[::-1]
        type_id, offset = cursor.number("<I"), cursor.number("<Q")
        form = TYPES.get(type_id)
        if form is None:
            raise CheckpointError(
                f"{self.path}: {name} is stored as ggml type {type_id}; flowvox reads "
                f"{', '.join(sorted(FORMATS))}"
            )
        count = math.prod(shape)
        if count == 0 or shape[-1] % form.weights or offset % alignment:
            raise _damaged(self.path, f"the entry of {name} is malformed")
        return name, form, shape, offset, count // form.weights * form.size

    def _check_places(self) -> None:
        position = 0
        for name, stored in sorted(self.tensors.items(), key=lambda item: item[1].start):
            if stored.start < position:
                raise _damaged(self.path, f"{name} overlaps its neighbour")
            position = stored.start + stored.size
            if position > self._size:
                raise _damaged(self.path, f"it ends before {name} does")


class _Cursor:
    """Reads forward through the header, never past its end or MAX_HEADER."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self._file, self._end, self._path = file, min(size, MAX_HEADER), path
        self.position = 0

    def take(self, count: int) -> bytes:
        if count > self._end - self.position:
            raise _damaged(self._path, "its header is cut short")
        self.position += count
        data = self._file.read(count)
        if len(data) != count:
            raise _damaged(self._path, "its header is cut short")
        return data

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def count(self, code: str, least: int) -> int:
        """A number of things that each take at least so many bytes."""
        count: int = self.number(code)
        if count > MAX_COUNT or count * least > self._end - self.position:
            raise _damaged(self._path, f"its header promises {count} entries")
        return count

    def text(self, longest: int = MAX_HEADER) -> str:
        length = self.number("<Q")
        if length > longest:
            raise _damaged(self._path, f"a name of {length} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise _damaged(self._path, "a text is not UTF-8") from None

    def value(self, kind: int) -> Any:
        """A number, a text, or a list of either."""
        if kind == STRING:
            return self.text()
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind != ARRAY:
            raise _damaged(self._path, f"a value of type {kind}")
        element = self.number("<I")
        if element == STRING:
            return [self.text() for _ in range(self.count("<Q", 8))]
        if element not in SCALARS:
            raise _damaged(self._path, f"an array of type {element}")
        width = struct.calcsize(SCALARS[element])
        data = self.take(width * self.count("<Q", width))
        return np.frombuffer(data, SCALARS[element]).tolist()


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what}; the file is damaged, download it again")
