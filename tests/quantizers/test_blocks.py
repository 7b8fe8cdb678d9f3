"""Integer blocks: layout, error, and what onnxruntime makes of them."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from flowvox.errors import RecipeError
from flowvox.quantizers.blocks import (
    quantize_blocks,
    quantize_rows,
    round_scales,
    search_scales,
    squared_error,
)

BLOCKS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.just(32)),
    elements=st.floats(-50, 50, width=32),
)


@given(BLOCKS, st.sampled_from([4, 8]))
@settings(max_examples=60)
def test_search_is_never_worse_than_rounding(blocks: np.ndarray, bits: int) -> None:
    searched = squared_error(blocks, search_scales(blocks, bits), bits)
    assert (searched <= squared_error(blocks, round_scales(blocks, bits), bits)).all()


@pytest.mark.parametrize(("bits", "gain"), [(4, 0.92), (8, 0.9)])
def test_search_beats_rounding_on_gaussian_weights(bits: int, gain: float) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32)
    error = {
        method: np.square(quantize_blocks(weights, bits, 32, method).dequantized() - weights).mean()
        for method in ("round", "search")
    }
    assert error["search"] < gain * error["round"]


@given(BLOCKS, st.sampled_from([4, 8]), st.sampled_from(["round", "search"]))
@settings(max_examples=60)
def test_error_stays_below_a_level(blocks: np.ndarray, bits: int, method: str) -> None:
    """No weight moves by more than the largest weight of its block divided by the levels."""
    back = quantize_blocks(blocks, bits, 32, method).dequantized()
    step = np.abs(blocks).max(axis=1, keepdims=True) / ((1 << (bits - 1)) - 1)
    subnormal = (1 << (bits - 1)) * 2.0**-25  # scales of tiny weights round to multiples of 2^-24
    assert (np.abs(back - blocks) <= 1.6 * step + subnormal + 1e-6).all()


def test_what_is_on_the_grid_comes_back_exactly() -> None:
    levels = np.tile(np.arange(-8, 8), (3, 2)).astype(np.float32)
    for scale in (0.25, 2.0**-12, 64.0):
        back = quantize_blocks(levels * scale, 4, 32, "search").dequantized()
        np.testing.assert_array_equal(back, levels * scale)


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-7, 3e4])
def test_constant_and_extreme_rows(value: float) -> None:
    weights = np.full((2, 40), value, dtype=np.float32)
    for bits in (4, 8):
        back = quantize_blocks(weights, bits, 32, "search").dequantized()
        assert np.isfinite(back).all()
        np.testing.assert_allclose(back, weights, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("columns", "block"), [(64, 32), (72, 32), (128, 128), (40, 16)])
def test_onnxruntime_multiplies_as_we_dequantize(bits: int, columns: int, block: int) -> None:
    """MatMulNBits of the identity gives back the weights: nibble order, offsets, padding."""
    weights = np.random.default_rng(1).normal(size=(24, columns)).astype(np.float32)
    encoded = quantize_blocks(weights, bits, block, "search")
    scales = encoded.scales.astype(np.float32)
    node = helper.make_node(
        "MatMulNBits", ["x", "q", "s"], ["y"], domain="com.microsoft",
        K=columns, N=24, bits=bits, block_size=block, accuracy_level=4,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 24])],
        [numpy_helper.from_array(encoded.packed, "q"), numpy_helper.from_array(scales, "s")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"x": np.eye(columns, dtype=np.float32)})
    np.testing.assert_allclose(y.T, encoded.dequantized(), rtol=0, atol=1e-5)


def test_weights_beyond_float16_scales_are_refused() -> None:
    with pytest.raises(RecipeError, match="float32"):
        quantize_blocks(np.full((2, 32), 1e7, dtype=np.float32), 4, 32, "search")


def test_table_rows_keep_their_own_scale() -> None:
    table = np.array([[1.0, -0.5], [0.001, 0.0005], [0, 0]], dtype=np.float32)
    levels, scales = quantize_rows(table)
    np.testing.assert_allclose(levels * scales[:, None], table, rtol=1e-2, atol=1e-9)


def test_large_tables_are_cut_in_pieces_that_fit() -> None:
    """More rows than are quantized at a time, and not a multiple."""
    table = np.random.default_rng(3).normal(size=(2500, 1024)).astype(np.float32)
    levels, scales = quantize_rows(table)
    assert np.abs(levels * scales[:, None] - table).max() <= scales.max() / 2 * 1.001
