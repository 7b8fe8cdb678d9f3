"""8 bits per weight with a scale per output channel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowvox.quantizers import channels
from flowvox.quantizers.channels import (
    quantize_channels,
    round_scales,
    search_scales,
    squared_error,
)
from flowvox.quantizers.statistics import InputStatistics

MATRICES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 40)),
    elements=st.floats(-50, 50, width=32),
)


def test_a_channel_by_hand() -> None:
    """Scale 0.5: levels 64, -64, 3 and 0."""
    weights = np.array([[32, -32, 1.6, 0.2], [0, 0, 0, 0]], dtype=np.float32)
    encoded = quantize_channels(weights, "round")
    assert encoded.scales.tolist() == [0.5, 0]
    assert encoded.levels.tolist() == [[64, -64, 3, 0], [0] * 4]
    assert encoded.dequantized().tolist() == [[32, -32, 1.5, 0.0], [0, 0, 0, 0]]


@given(MATRICES)
@settings(max_examples=60)
def test_search_is_never_worse_than_rounding(weights: np.ndarray) -> None:
    searched = squared_error(weights, search_scales(weights))
    assert (searched <= squared_error(weights, round_scales(weights))).all()


@given(MATRICES)
@settings(max_examples=60)
def test_rounding_moves_a_weight_by_half_a_level_at_most(weights: np.ndarray) -> None:
    back = quantize_channels(weights, "round").dequantized()
    step = np.abs(weights).max(axis=1, keepdims=True) / 64
    assert (np.abs(back - weights) <= 0.501 * step + 1e-28).all()


def test_search_clips_where_a_channel_is_wide() -> None:
    """9216 inputs, the down projection of the 4B model: clipping the largest weights pays."""
    weights = np.random.default_rng(0).normal(size=(16, 9216)).astype(np.float32)
    errors = [squared_error(weights, f(weights)).sum() for f in (search_scales, round_scales)]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("method", ["round", "search"])
def test_pieces_are_what_the_whole_is(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(1).normal(size=(11, 7)).astype(np.float32)
    whole = quantize_channels(weights, method)
    monkeypatch.setattr(channels, "WEIGHTS_AT_ONCE", 20)
    pieces = quantize_channels(weights, method)
    np.testing.assert_array_equal(pieces.levels, whole.levels)
    np.testing.assert_array_equal(pieces.scales, whole.scales)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_gptq_keeps_the_outputs_nearer(seed: int) -> None:
    """Inputs of a few directions: what a level gets wrong, later ones make up for."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 140))
    inputs += 0.2 * rng.normal(size=inputs.shape)
    weights = rng.normal(size=(9, 140)).astype(np.float32)
    hessian = (inputs.T @ inputs / len(inputs)).astype(np.float32)
    statistics = InputStatistics(
        np.diag(hessian), np.abs(inputs).max(0).astype(np.float32), hessian.copy
    )
    error = {}
    for method in ("search", "gptq"):
        encoded = quantize_channels(weights, method, statistics)
        assert np.abs(encoded.levels.astype(int)).max() <= 64
        error[method] = np.square(inputs @ (encoded.dequantized() - weights).T).sum()
    assert error["gptq"] < 0.5 * error["search"]
