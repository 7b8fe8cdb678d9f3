"""The searched K-quants: how small their error is, and what they do at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from tests.quantizers.ggml import llama_cpp
from tests.quantizers.ggml.blocks import rows

from flowvox.errors import RecipeError
from flowvox.quantizers.ggml.formats import FORMATS, Floats
from flowvox.quantizers.ggml.rows import dequantize_rows, quantize_rows

K_QUANTS = ("q4_k", "q5_k", "q6_k")
# Relative error, root of the mean square, on Gaussian weights.
EXPECTED = {"q4_k": 0.0710, "q5_k": 0.0356, "q6_k": 0.0170}
MARGIN = 1.02  # against llama.cpp


def matrices() -> dict[str, Floats]:
    rng = np.random.default_rng(7)
    offsets = rng.normal(size=(96, 1)) + rng.normal(size=(1, 1024)) * 0.3
    return {
        "gaussian": rng.normal(size=(96, 1024)).astype(np.float32),
        "of a wide layer": (rng.normal(size=(96, 1024)) / 55).astype(np.float32),
        "heavy tails": rng.standard_t(3, size=(96, 1024)).astype(np.float32),
        "off centre": (rng.normal(size=(96, 1024)) + offsets).astype(np.float32),
        "positive": rng.exponential(size=(96, 1024)).astype(np.float32),
        "sparse": (rng.normal(size=(96, 1024)) * (rng.random((96, 1024)) < 0.1)).astype(np.float32),
    }


def error(name: str, data: np.ndarray, weights: Floats, importance: Floats | float = 1.0) -> float:
    difference = dequantize_rows(name, data).astype(np.float64) - weights
    power = (importance * np.square(weights.astype(np.float64))).mean()
    return float(np.sqrt((importance * np.square(difference)).mean() / power))


@pytest.mark.parametrize("name", K_QUANTS)
def test_error_on_gaussian_weights(name: str) -> None:
    weights = matrices()["gaussian"]
    assert error(name, quantize_rows(name, weights), weights) < EXPECTED[name]


@pytest.mark.parametrize("name", K_QUANTS)
@pytest.mark.parametrize("kind", matrices())
def test_no_worse_than_llama_cpp(name: str, kind: str) -> None:
    weights = matrices()[kind]
    theirs = error(name, llama_cpp.quantize(name, weights), weights)
    assert error(name, quantize_rows(name, weights), weights) <= MARGIN * theirs


@pytest.mark.parametrize("name", K_QUANTS)
def test_no_worse_than_llama_cpp_with_importance(name: str) -> None:
    weights = matrices()["gaussian"]
    importance = np.square(np.random.default_rng(8).exponential(size=1024)).astype(np.float32)
    theirs = error(name, llama_cpp.quantize(name, weights, importance), weights, importance)
    ours = error(name, quantize_rows(name, weights, importance), weights, importance)
    assert ours <= MARGIN * theirs


@pytest.mark.parametrize("name", K_QUANTS)
def test_importance_moves_the_error_to_where_it_matters_less(name: str) -> None:
    weights = matrices()["gaussian"]
    importance = np.where(np.arange(1024) % 2, 1.0, 0.01).astype(np.float32)
    plain = dequantize_rows(name, quantize_rows(name, weights)) - weights
    moved = dequantize_rows(name, quantize_rows(name, weights, importance)) - weights
    assert np.square(moved[:, 1::2]).mean() < 0.97 * np.square(plain[:, 1::2]).mean()


@pytest.mark.parametrize("name", K_QUANTS)
def test_equal_importance_is_no_importance(name: str) -> None:
    weights = matrices()["gaussian"]
    ones = np.ones(1024, dtype=np.float32)
    np.testing.assert_array_equal(quantize_rows(name, weights, ones), quantize_rows(name, weights))


@pytest.mark.parametrize("name", K_QUANTS)
@pytest.mark.parametrize("factor", [0.25, 4.0, 2.0**10])
def test_powers_of_two_change_only_the_scales(name: str, factor: float) -> None:
    weights = matrices()["gaussian"]
    back = dequantize_rows(name, quantize_rows(name, weights))
    scaled = dequantize_rows(name, quantize_rows(name, weights * np.float32(factor)))
    np.testing.assert_array_equal(scaled, back * np.float32(factor))


@pytest.mark.parametrize("name", K_QUANTS)
@pytest.mark.parametrize("value", [0.0, 0.5, -0.5, 6e4, -6e4, 1e-20, 1e-40])
def test_constant_blocks(name: str, value: float) -> None:
    weights = np.full((2, 256), value, dtype=np.float32)
    back = dequantize_rows(name, quantize_rows(name, weights))
    np.testing.assert_allclose(back, weights, rtol=4e-3, atol=1e-7)


@pytest.mark.parametrize("name", K_QUANTS)
@settings(max_examples=60, deadline=None)
@given(blocks=rows(256))
def test_no_block_is_worse_than_zeros(name: str, blocks: Floats) -> None:
    back = dequantize_rows(name, quantize_rows(name, blocks)).astype(np.float64)
    lost = np.square(back - blocks).sum(axis=1)
    assert (lost <= np.square(blocks.astype(np.float64)).sum(axis=1) * (1 + 1e-3)).all()


def test_rows_that_are_no_blocks_are_refused() -> None:
    with pytest.raises(RecipeError, match="multiple of 256, not 192"):
        quantize_rows("q4_k", np.zeros((2, 192), dtype=np.float32))


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {"float32", "bfloat16"}])
def test_weights_beyond_float16_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="float32"):
        quantize_rows(name, np.full((1, 256), -7e4, dtype=np.float32))


def test_large_matrices_are_cut_in_pieces_that_fit() -> None:
    """More rows than are quantized at a time, and not a multiple."""
    weights = np.random.default_rng(3).normal(size=(2100, 512)).astype(np.float32)
    data = quantize_rows("q4_k", weights, np.linspace(0, 1, 512, dtype=np.float32))
    last = quantize_rows("q4_k", weights[-3:], np.linspace(0, 1, 512, dtype=np.float32))
    np.testing.assert_array_equal(data[-3:], last)
    assert dequantize_rows("q4_k", data).shape == weights.shape
