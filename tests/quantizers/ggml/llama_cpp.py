"""llama.cpp's own quantizer, or the test is skipped."""

from __future__ import annotations

import pytest

from flowvox.eval.methods import llama_cpp
from flowvox.quantizers.ggml.formats import Bytes, Floats


def quantize(name: str, weights: Floats, importance: Floats | None = None) -> Bytes:
    """float32 [rows, columns] -> uint8 [rows, bytes]; skips the test where no library is."""
    if llama_cpp.library() is None:
        pytest.skip("needs llama-cpp-python or crispasr")
    return llama_cpp.quantize(name, weights, importance)
