"""Coordinate descent never loses, stores what it computed with, and ends where no step pays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.quantizers.blocks import Floats, Grid, cut
from flowvox.quantizers.descent import descend
from flowvox.quantizers.gptq import damped
from flowvox.quantizers.matrix import find_grid


def problem(seed: int, columns: int = 72) -> tuple[Floats, Floats]:
    """(weights [9, columns], damped Hessian of inputs that are correlated)."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(200, 8)) @ rng.normal(size=(8, columns))
    inputs += 0.3 * rng.normal(size=inputs.shape)
    hessian = damped((inputs.T @ inputs / len(inputs)).astype(np.float32))
    return rng.normal(0.2, 1, size=(9, columns)).astype(np.float32), hessian


def loss(weights: Floats, hessian: Floats, grid: Grid, levels: Floats) -> np.ndarray:
    """Of each row."""
    values = grid.values(levels).reshape(len(weights), -1)[:, : weights.shape[1]]
    error = (values - weights).astype(np.float64)
    return np.einsum("ij,ij->i", error @ hessian, error)


@given(st.integers(0, 1000), st.booleans(), st.sampled_from([16, 32]), st.sampled_from([4, 8]))
@settings(max_examples=30)
def test_no_row_gets_worse(seed: int, symmetric: bool, block: int, bits: int) -> None:
    weights, hessian = problem(seed)
    blocks = cut(weights, block)
    grid = find_grid(blocks, bits, "round", symmetric)
    levels = grid.levels(blocks)
    before = loss(weights, hessian, grid, levels)
    better, found = descend(weights, hessian, grid, levels.copy(), block)
    after = loss(weights, hessian, better, found)
    assert (after <= before * (1 + 1e-4) + 1e-6).all()
    assert after.sum() < 0.6 * before.sum()
    assert found.min() >= 0
    assert found.max() <= 2**bits - 1
    np.testing.assert_array_equal(found, np.rint(found))


@pytest.mark.parametrize("symmetric", [True, False])
def test_no_single_level_could_be_better(symmetric: bool) -> None:
    """After enough sweeps every weight sits on the level that is best, given all others."""
    weights, hessian = problem(5)
    blocks = cut(weights, 24)
    grid = find_grid(blocks, 4, "search", symmetric)
    levels = grid.levels(blocks)
    for _ in range(8):
        grid, levels = descend(weights, hessian, grid, levels, 24)
    least = loss(weights, hessian, grid, levels)
    for column in range(weights.shape[1]):
        for step in (-1, 1):
            other = levels.reshape(len(weights), -1).copy()
            other[:, column] = np.clip(other[:, column] + step, 0, 15)
            worse = loss(weights, hessian, grid, other.reshape(levels.shape))
            assert (worse >= least * (1 - 1e-4)).all()


def test_what_is_exact_stays() -> None:
    weights, hessian = problem(7)
    grid = find_grid(cut(weights, 24), 4, "search", True)
    levels = grid.levels(cut(weights, 24))
    exact = grid.values(levels).reshape(weights.shape)
    same, again = descend(exact, hessian, grid, levels.copy(), 24)
    np.testing.assert_array_equal(again, levels)
    np.testing.assert_array_equal(same.scales, grid.scales)
