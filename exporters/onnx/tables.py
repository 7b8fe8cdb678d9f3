"""Embedding tables and voices: arrays that are looked up, written a few rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from flowvox.quantizers.blocks import quantize_rows
from flowvox.quantizers.weights import FloatWeights
from flowvox.source import ModelSource

VALUES_AT_ONCE = 1 << 24


def write_table(
    source: ModelSource, tensor: str, folder: Path, name: str, fmt: str
) -> dict[str, str]:
    """Write [rows, dim] `tensor` as `<name>.npy`, in int8 with `<name>.scales.npy`; the manifest entry.

    fmt: "float32", "float16" or "int8". Raises RecipeError where a value does not fit.
    """
    rows, dim = source.shapes[tensor]
    step = max(1, VALUES_AT_ONCE // dim)
    entry = {"format": fmt, "file": f"{name}.npy"}
    scales = []
    with (folder / entry["file"]).open("wb") as file:
        _header(file, (rows, dim), fmt)
        for start in range(0, rows, step):
            part = source.read_rows(tensor, start, min(start + step, rows))
            if fmt == "int8":
                levels, scale = quantize_rows(part)
                scales.append(scale)
                file.write(levels.data)
            else:
                file.write(FloatWeights.stored(part, half=fmt == "float16").values.data)
    if scales:
        entry["scales"] = f"{name}.scales.npy"
        np.save(folder / entry["scales"], np.concatenate(scales))
    return entry


def write_voices(source: ModelSource, folder: Path) -> dict[str, dict[str, Any]]:
    """Rows stay float32: they are few, and they are the prompt of every utterance."""
    (folder / "voices").mkdir()
    voices = {}
    for name in source.voices():
        rows = source.voice(name)
        np.save(folder / "voices" / f"{name}.npy", rows)
        voices[name] = {"file": f"voices/{name}.npy", "rows": len(rows)}
    return voices


def _header(file: BinaryIO, shape: tuple[int, int], dtype: str) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
