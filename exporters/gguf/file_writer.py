"""A GGUF file from metadata and weights that are made one at a time, through gguf-py."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

from flowvox.errors import OutputError
from flowvox.exporters.gguf.reader import is_gguf
from flowvox.files import check_output, file_beside
from flowvox.quantizers.ggml.formats import FORMATS, Bytes, Floats
from flowvox.tensors import Shape

Metadata = dict[str, tuple[str, Any]]  # key: (u32, f32, bool, string or strings; value)
Report = Callable[[int, int], None]
HEADER_ROOM = 1 << 20  # bytes of metadata and padding, when room is checked


@dataclass(frozen=True)
class Weight:
    """name, shape and block format of a tensor, and what makes its bytes."""

    name: str
    shape: Shape
    form: str
    make: Callable[[], Bytes | Floats]

    @property
    def size(self) -> int:
        """Bytes in the file, padding aside."""
        kind = FORMATS[self.form]
        return math.prod(self.shape) // kind.weights * kind.size


def write_file(
    out: Path,
    architecture: str,
    metadata: Metadata,
    weights: Sequence[Weight],
    *,
    overwrite: bool,
    report: Report,
) -> None:
    """Write `out`, whole or not at all. `report` is told bytes done and in all. Raises OutputError."""
    total = sum(weight.size for weight in weights)
    check_target(out, total + HEADER_ROOM, overwrite=overwrite)
    with file_beside(out) as temporary:
        writer = GGUFWriter(temporary, architecture)
        try:
            _add_metadata(writer, metadata)
            for weight in weights:
                writer.add_tensor_info(
                    weight.name,
                    weight.shape,
                    np.dtype(np.float32),  # any but uint8: the shape counts weights, not bytes
                    weight.size,
                    raw_dtype=GGMLQuantizationType(FORMATS[weight.form].type_id),
                )
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            done = 0
            for weight in weights:
                writer.write_tensor_data(weight.make())
                done += weight.size
                report(done, total)
        finally:
            writer.close()


def check_target(out: Path, size: int, *, overwrite: bool) -> None:
    """Raise OutputError unless a file of so many bytes can be written to `out`.

    Only GGUF files are overwritten, whatever was asked for.
    """
    check_output(out)
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: exists already; choose another name or pass --overwrite")
    if out.exists() and not is_gguf(out):
        raise OutputError(f"{out}: is not a GGUF file, so it is not overwritten")
    free = shutil.disk_usage(out.absolute().parent).free
    if free < size:
        raise OutputError(f"{out}: needs {size / 1e9:.2f} GB, but only {free / 1e9:.2f} are free")


def _add_metadata(writer: GGUFWriter, metadata: Metadata) -> None:
    add = {
        "u32": writer.add_uint32,
        "f32": writer.add_float32,
        "bool": writer.add_bool,
        "string": writer.add_string,
        "strings": writer.add_array,
    }
    for key, (kind, value) in metadata.items():
        add[kind](key, value)
