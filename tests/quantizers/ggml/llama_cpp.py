"""llama.cpp's own quantizer through ctypes, from whichever package brings its library."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from flowvox.quantizers.ggml.formats import FORMATS, Bytes, Floats

LIBRARIES = {"llama_cpp": "lib/libggml-base.so", "crispasr": "libggml-base.so"}


@lru_cache
def _library() -> ctypes.CDLL | None:
    for package, place in LIBRARIES.items():
        spec = find_spec(package)
        if spec and spec.origin and (path := Path(spec.origin).parent / place).exists():
            library = ctypes.CDLL(str(path))
            library.ggml_quantize_chunk.restype = ctypes.c_size_t
            return library
    return None


def quantize(name: str, weights: Floats, importance: Floats | None = None) -> Bytes:
    """float32 [rows, columns] -> uint8 [rows, bytes]; skips the test where no library is."""
    library = _library()
    if library is None:
        pytest.skip("needs llama-cpp-python or crispasr")
    form = FORMATS[name]
    rows, columns = weights.shape
    weights = np.ascontiguousarray(weights)
    out = np.empty((rows, columns // form.weights * form.size), dtype=np.uint8)
    library.ggml_quantize_chunk(
        ctypes.c_int(form.type_id),
        ctypes.c_void_p(weights.ctypes.data),
        ctypes.c_void_p(out.ctypes.data),
        ctypes.c_int64(0),
        ctypes.c_int64(rows),
        ctypes.c_int64(columns),
        ctypes.c_void_p(None if importance is None else importance.ctypes.data),
    )
    return out
