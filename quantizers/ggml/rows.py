"""Matrices in a block format: rows of blocks, a piece at a time."""

from __future__ import annotations

import numpy as np

from flowvox.errors import RecipeError
from flowvox.quantizers.ggml.formats import FORMATS, Bytes, Floats
from flowvox.quantizers.weights import LARGEST_HALF

WEIGHTS_AT_ONCE = 1 << 19  # so many have temporaries at a time


def fits(name: str, columns: int) -> bool:
    """Whether rows of so many weights are whole blocks."""
    return columns % FORMATS[name].weights == 0


def row_size(name: str, columns: int) -> int:
    """Bytes of a row that `fits`."""
    return columns // FORMATS[name].weights * FORMATS[name].size


def quantize_rows(name: str, weights: Floats, importance: Floats | None = None) -> Bytes:
    """float32 [rows, columns] -> uint8 [rows, bytes of a row].

    importance: mean square of each input [columns], from calibration. Raises RecipeError where rows
    are not whole blocks, or a weight is too large for a float16 scale.
    """
    form = FORMATS[name]
    rows, columns = weights.shape
    if not fits(name, columns):
        raise RecipeError(f"{name} needs rows of a multiple of {form.weights}, not {columns}")
    wide = name in {"float32", "bfloat16"}
    if not wide and weights.size and max(weights.max(), -weights.min()) > LARGEST_HALF:
        raise RecipeError(f"a weight is too large for {name}; store this tensor as float32")
    out = np.empty((rows, row_size(name, columns)), dtype=np.uint8)
    step = max(1, WEIGHTS_AT_ONCE // columns)
    for start in range(0, rows, step):
        part = np.ascontiguousarray(weights[start : start + step])
        matter = None
        if importance is not None:
            matter = np.tile(importance, (len(part), 1)).reshape(-1, form.weights)
        blocks = form.quantize(part.reshape(-1, form.weights), matter)
        out[start : start + step] = blocks.reshape(len(part), -1)
    return out


def dequantize_rows(name: str, data: Bytes) -> Floats:
    """uint8 [rows, bytes of a row] -> float32 [rows, columns]."""
    form = FORMATS[name]
    rows, size = data.shape
    columns = size // form.size * form.weights
    out = np.empty((rows, columns), dtype=np.float32)
    step = max(1, WEIGHTS_AT_ONCE // max(1, columns))
    for start in range(0, rows, step):
        part = np.ascontiguousarray(data[start : start + step])
        with np.errstate(invalid="ignore", over="ignore"):  # scales of a file may be anything
            weights = form.dequantize(part.reshape(-1, form.size))
        out[start : start + step] = weights.reshape(len(part), columns)
    return out
