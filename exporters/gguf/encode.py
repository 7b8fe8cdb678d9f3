"""The bytes of one tensor of a file, from the checkpoint's tensors that it is made of."""

from __future__ import annotations

import numpy as np

from flowvox.exporters.gguf.names import Entry
from flowvox.quantizers.folding.preparation import Statistics
from flowvox.quantizers.ggml.formats import Bytes, Floats
from flowvox.quantizers.ggml.rows import quantize_rows, row_size
from flowvox.source import ModelSource
from flowvox.tensors import fold_weight_norm

WEIGHTS_AT_ONCE = 1 << 22  # that are read from the source
USAGE_FLOOR = np.float32(1e-5)  # format B.8


def encoded(
    source: ModelSource, entry: Entry, form: str, statistics: Statistics | None = None
) -> Bytes:
    """uint8 [rows, bytes of a row]; blocks are taken over where the source has that format.

    statistics: of the inputs of the entry's tensor, where their importance counts.
    """
    if source.block_format(entry.tensor) == form:
        return source.packed(entry.tensor)
    if entry.beside is None and len(entry.shape) == 2:
        importance = None if statistics is None else statistics(entry.tensor).importance()
        return _encoded_matrix(source, entry, form, importance)
    values = source.read(entry.tensor)
    if entry.is_convolution:
        assert entry.beside
        values = fold_weight_norm(source.read(entry.beside), values)
    elif entry.beside:
        values /= np.maximum(source.read(entry.beside), USAGE_FLOOR)[:, None]
    return quantize_rows(form, values.reshape(-1, entry.shape[-1]))


def _encoded_matrix(
    source: ModelSource, entry: Entry, form: str, importance: Floats | None
) -> Bytes:
    rows, columns = entry.shape
    data = np.empty((rows, row_size(form, columns)), dtype=np.uint8)
    step = max(1, WEIGHTS_AT_ONCE // columns)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        rows_here = source.read_rows(entry.tensor, start, stop)
        data[start:stop] = quantize_rows(form, rows_here, importance)
    return data
