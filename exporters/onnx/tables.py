"""Embedding tables and voices: arrays that are looked up, written a few rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from flowvox.quantizers.matrix import quantize_blocks, quantize_rows
from flowvox.quantizers.weights import FloatWeights
from flowvox.recipe import Rule
from flowvox.source import ModelSource

VALUES_AT_ONCE = 1 << 24


def write_table(
    source: ModelSource, tensor: str, folder: Path, name: str, rule: Rule
) -> dict[str, str]:
    """Write [rows, dim] `tensor` as `<name>.npy`, with `<name>.scales.npy` where it is quantized.

    Returns the manifest's entry; `flowvox.tables` reads the arrays. Raises RecipeError where a value
    does not fit.
    """
    rows, dim = source.shapes[tensor]
    step = max(1, VALUES_AT_ONCE // dim)
    entry = {"format": rule.format, "file": f"{name}.npy"}
    scales = []
    with (folder / entry["file"]).open("wb") as file:
        for start in range(0, rows, step):
            part = source.read_rows(tensor, start, min(start + step, rows))
            stored, scale = _encoded(part, rule)
            if start == 0:
                _header(file, (rows, stored.shape[1]), stored.dtype)
            file.write(stored.data)
            if scale is not None:
                scales.append(scale)
    if scales:
        entry["scales"] = f"{name}.scales.npy"
        np.save(folder / entry["scales"], np.concatenate(scales))
    return entry


def _encoded(part: NDArray[np.float32], rule: Rule) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """What is stored of some rows: values, and scales where the format has them."""
    if rule.format == "int8":
        return quantize_rows(part)
    if rule.format == "int4":
        blocks = quantize_blocks(part, 4, rule.block, rule.method)
        return blocks.packed.reshape(len(part), -1), blocks.scales
    return FloatWeights.stored(part, half=rule.format == "float16").values, None


def write_voices(source: ModelSource, folder: Path) -> dict[str, dict[str, Any]]:
    """Rows stay float32: they are few, and they are the prompt of every utterance."""
    (folder / "voices").mkdir()
    voices = {}
    for name in source.voices():
        rows = source.voice(name)
        np.save(folder / "voices" / f"{name}.npy", rows)
        voices[name] = {"file": f"voices/{name}.npy", "rows": len(rows)}
    return voices


def _header(file: BinaryIO, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
