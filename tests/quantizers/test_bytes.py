"""Weights in bytes that are widened when a graph is loaded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowvox.quantizers.bytes import quantize_bytes

WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 4)),
    elements=st.floats(-50, 50, width=32),
)


def test_a_channel_by_hand() -> None:
    """Scale 1: levels 127, -3 and 0."""
    encoded = quantize_bytes(np.array([[127, -3, 0], [0, 0, 0]], dtype=np.float32))
    assert encoded.levels.tolist() == [[127, -3, 0], [0, 0, 0]]
    assert encoded.scales.tolist() == [1, 0]


@given(WEIGHTS)
@settings(max_examples=60)
def test_an_error_is_half_a_level_and_a_little_more(weights: np.ndarray) -> None:
    """The fitted scale moves the largest level by less than half a step, too."""
    error = np.abs(quantize_bytes(weights).dequantized() - weights)
    step = np.abs(weights).max(axis=(1, 2), keepdims=True) / 127
    assert (error <= 1.01 * step + 1e-28).all()


@pytest.mark.parametrize("shape", [(64, 192), (64, 48, 4)])
def test_gaussian_weights_keep_more_than_forty_decibels(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    error = quantize_bytes(weights).dequantized() - weights
    assert 10 * np.log10(np.square(weights).sum() / np.square(error).sum()) > 40
