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
def test_the_fitted_scale_is_never_worse_than_the_one_of_the_largest_weight(
    weights: np.ndarray,
) -> None:
    """In squared error, for each channel: the levels are the same, the scale is least squares."""
    encoded = quantize_bytes(weights)
    step = np.abs(weights).max(axis=(1, 2), keepdims=True) / 127

    def squared(error: np.ndarray) -> np.ndarray:
        return np.square(error, dtype=np.float64).sum(axis=(1, 2))

    plain = squared(encoded.levels * step - weights)
    assert (squared(encoded.dequantized() - weights) <= plain * (1 + 1e-4) + 1e-9).all()


@given(WEIGHTS)
@settings(max_examples=60)
def test_levels_are_the_nearest_to_the_weights(weights: np.ndarray) -> None:
    """Within half a step of the largest weight's scale."""
    step = np.abs(weights).max(axis=(1, 2), keepdims=True) / 127
    error = np.abs(quantize_bytes(weights).levels * step - weights)
    assert (error <= 0.501 * step + 1e-28).all()


@pytest.mark.parametrize("shape", [(64, 192), (64, 48, 4)])
def test_gaussian_weights_keep_more_than_forty_decibels(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    error = quantize_bytes(weights).dequantized() - weights
    assert 10 * np.log10(np.square(weights).sum() / np.square(error).sum()) > 40
