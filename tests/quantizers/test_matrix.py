"""Matrices in integer blocks: layout, error, and what onnxruntime makes of them."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from flowvox.errors import RecipeError
from flowvox.quantizers.matrix import find_grid, quantize_blocks, quantize_rows

METHODS = ("round", "search", "hqq")
BITS, SYMMETRIC = st.sampled_from([2, 4, 8]), st.booleans()
BLOCKS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.just(32)),
    elements=st.floats(-50, 50, width=32),
)


@given(BLOCKS, BITS, SYMMETRIC, st.sampled_from(["search", "hqq"]))
@settings(max_examples=80)
def test_no_method_is_worse_than_rounding(
    blocks: np.ndarray, bits: int, symmetric: bool, method: str
) -> None:
    found = find_grid(blocks, bits, method, symmetric).error(blocks)
    assert (found <= find_grid(blocks, bits, "round", symmetric).error(blocks)).all()


@given(BLOCKS, SYMMETRIC, st.integers(0, 31))
@settings(max_examples=40)
def test_a_search_spends_its_error_where_it_matters_least(
    blocks: np.ndarray, symmetric: bool, column: int
) -> None:
    importance = np.full(32, 1e-3, dtype=np.float32)
    importance[column] = 1
    tiled = np.tile(importance, (len(blocks), 1))
    weighted = find_grid(blocks, 4, "search", symmetric, importance).error(blocks, tiled)
    assert (weighted <= find_grid(blocks, 4, "round", symmetric).error(blocks, tiled)).all()


@pytest.mark.parametrize(
    ("bits", "symmetric", "gain"),
    [(2, True, 0.85), (4, True, 0.92), (8, True, 0.9), (2, False, 0.7), (4, False, 0.92)],
)
def test_search_beats_rounding_on_gaussian_weights(bits: int, symmetric: bool, gain: float) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32)
    error = {
        method: squared_error(weights, bits, 32, method, symmetric)
        for method in ("round", "search")
    }
    assert error["search"] < gain * error["round"]


def test_zero_points_pay_on_lopsided_weights() -> None:
    weights = np.random.default_rng(0).normal(1, 0.5, size=(64, 512)).astype(np.float32)
    assert squared_error(weights, 4, 32, "search", False) < 0.7 * squared_error(
        weights, 4, 32, "search", True
    )


def squared_error(
    weights: np.ndarray, bits: int, block: int, method: str, symmetric: bool
) -> float:
    back = quantize_blocks(weights, bits, block, method, symmetric=symmetric).dequantized()
    return float(np.square(back - weights).mean())


@given(BLOCKS, BITS, SYMMETRIC, st.sampled_from(METHODS))
@settings(max_examples=80)
def test_error_stays_below_a_level(
    blocks: np.ndarray, bits: int, symmetric: bool, method: str
) -> None:
    """No weight moves by more than the largest weight of its block divided by the levels."""
    back = quantize_blocks(blocks, bits, 32, method, symmetric=symmetric).dequantized()
    step = np.abs(blocks).max(axis=1, keepdims=True) / ((1 << (bits - 1)) - 1)
    subnormal = (1 << (bits - 1)) * 2.0**-25  # scales of tiny weights round to multiples of 2^-24
    assert (np.abs(back - blocks) <= 2 * step + subnormal + 1e-6).all()


def test_what_is_on_the_grid_comes_back_exactly() -> None:
    levels = np.tile(np.arange(-8, 8), (3, 2)).astype(np.float32)
    for scale in (0.25, 2.0**-12, 64.0):
        back = quantize_blocks(levels * scale, 4, 32, "search").dequantized()
        np.testing.assert_array_equal(back, levels * scale)
        shifted = (levels + 5) * scale  # -3 ... 12: no symmetric grid has that
        back = quantize_blocks(shifted, 4, 32, "search", symmetric=False).dequantized()
        np.testing.assert_array_equal(back, shifted)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-7, -0.3, 3e4])
def test_constant_and_extreme_rows(value: float, symmetric: bool) -> None:
    weights = np.full((2, 40), value, dtype=np.float32)
    for bits in (4, 8):
        for method in METHODS:
            encoded = quantize_blocks(weights, bits, 32, method, symmetric=symmetric)
            back = encoded.dequantized()
            assert np.isfinite(back).all()
            np.testing.assert_allclose(back, weights, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("bits", "columns", "block"),
    [(bits, *size) for bits in (4, 8) for size in ((64, 32), (72, 32), (128, 128), (40, 16))]
    + [(2, 64, 64), (2, 72, 64), (2, 128, 128)],
)
def test_onnxruntime_multiplies_as_we_dequantize(
    bits: int, columns: int, block: int, symmetric: bool
) -> None:
    """MatMulNBits of the identity gives back the weights: order of bits, offsets, padding."""
    weights = np.random.default_rng(1).normal(0.3, 1, size=(24, columns)).astype(np.float32)
    encoded = quantize_blocks(weights, bits, block, "search", symmetric=symmetric)
    stored = {"q": encoded.packed, "s": encoded.scales.astype(np.float32)}
    if not symmetric:
        stored["z"] = encoded.packed_zeros()
    node = helper.make_node(
        "MatMulNBits", ["x", *stored], ["y"], domain="com.microsoft",
        K=columns, N=24, bits=bits, block_size=block, accuracy_level=4,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 24])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
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
