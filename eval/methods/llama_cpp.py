"""llama.cpp's own quantizer through ctypes, from whichever package brings its library."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from flowvox.quantizers.ggml.formats import FORMATS, Bytes, Floats

LIBRARIES = {"llama_cpp": "lib/libggml-base.so", "crispasr": "libggml-base.so"}


@lru_cache
def library() -> ctypes.CDLL | None:
    """libggml-base, None where neither package is installed."""
    for package, place in LIBRARIES.items():
        spec = find_spec(package)
        if spec and spec.origin and (path := Path(spec.origin).parent / place).exists():
            found = ctypes.CDLL(str(path))
            found.ggml_quantize_chunk.restype = ctypes.c_size_t
            return found
    return None


def quantize(name: str, weights: Floats, importance: Floats | None = None) -> Bytes:
    """float32 [rows, columns] -> uint8 [rows, bytes] of a block format; `library` has been found."""
    ggml = library()
    assert ggml is not None
    form = FORMATS[name]
    rows, columns = weights.shape
    weights = np.ascontiguousarray(weights)
    out = np.empty((rows, columns // form.weights * form.size), dtype=np.uint8)
    ggml.ggml_quantize_chunk(
        ctypes.c_int(form.type_id),
        ctypes.c_void_p(weights.ctypes.data),
        ctypes.c_void_p(out.ctypes.data),
        ctypes.c_int64(0),
        ctypes.c_int64(rows),
        ctypes.c_int64(columns),
        ctypes.c_void_p(None if importance is None else importance.ctypes.data),
    )
    return out
