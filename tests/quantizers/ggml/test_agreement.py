"""Our bytes are gguf-py's bytes, and gguf-py reads ours as we meant them."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.quantizers.ggml.blocks import rows

from flowvox.quantizers.ggml.formats import FORMATS, TYPES, BlockFormat, Floats
from flowvox.quantizers.ggml.rows import dequantize_rows, quantize_rows

K_QUANTS = ("q4_k", "q5_k", "q6_k")
ROUNDED = tuple(name for name in FORMATS if name not in K_QUANTS)


def gguf_type(form: type[BlockFormat]) -> GGMLQuantizationType:
    return GGMLQuantizationType(form.type_id)


def test_sizes_are_those_of_ggml() -> None:
    assert set(FORMATS) == {
        "float32", "float16", "bfloat16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1",
        "q4_k", "q5_k", "q6_k",
    }  # fmt: skip
    for form in TYPES.values():
        assert GGML_QUANT_SIZES[gguf_type(form)] == (form.weights, form.size)


@pytest.mark.parametrize("name", ROUNDED)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rounded_formats_agree_bit_for_bit(name: str, data: st.DataObject) -> None:
    form = FORMATS[name]
    weights = data.draw(rows(64 if form.weights > 1 else 5))
    ours = quantize_rows(name, weights)
    theirs = quantize(weights, gguf_type(form)).view(np.uint8)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_are_read_alike(name: str, data: st.DataObject) -> None:
    """NaN and infinite scales included."""
    form = FORMATS[name]
    blocks = data.draw(hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(form.size))))
    with np.errstate(all="ignore"):
        theirs = dequantize(blocks.copy(), gguf_type(form))
    np.testing.assert_array_equal(dequantize_rows(name, blocks), theirs)


@pytest.mark.parametrize("name", K_QUANTS)
@settings(max_examples=40, deadline=None)
@given(weights=rows(512))
def test_gguf_py_reads_our_k_quants(name: str, weights: Floats) -> None:
    ours = quantize_rows(name, weights)
    meant = dequantize_rows(name, ours)
    np.testing.assert_array_equal(dequantize(ours, gguf_type(FORMATS[name])), meant)
    assert np.isfinite(meant).all()


def test_bfloat16_keeps_what_is_no_number() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 3.4e38, -0.0, 1e-45]], dtype=np.float32)
    theirs = quantize(values, GGMLQuantizationType.BF16)
    np.testing.assert_array_equal(quantize_rows("bfloat16", values), theirs.view(np.uint8))
