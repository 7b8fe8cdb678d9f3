"""GPTQ: the paper's own algorithm, what it may do at most, and cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.quantizers.blocks import Floats, Grid, cut
from flowvox.quantizers.gptq import DAMPING, feedback, gptq
from flowvox.quantizers.matrix import find_grid, quantize_blocks
from flowvox.quantizers.statistics import InputStatistics


def hessian_of(inputs: np.ndarray) -> Floats:
    return (inputs.T @ inputs / len(inputs)).astype(np.float32)


def correlated(rng: np.random.Generator, columns: int, rank: int = 6) -> np.ndarray:
    """Inputs [400, columns] that a few directions explain for the most part."""
    mixed = rng.normal(size=(400, rank)) @ rng.normal(size=(rank, columns))
    return mixed + 0.3 * rng.normal(size=(400, columns))


def statistics_of(inputs: np.ndarray) -> InputStatistics:
    hessian = hessian_of(inputs)
    return InputStatistics(np.diag(hessian), np.abs(inputs).max(0), lambda: hessian.copy())


def paper(weights: Floats, hessian: Floats, grid: Grid, block: int) -> Floats:
    """Algorithm 1 of arXiv:2210.17323 with the grid given: quantized weights."""
    left, damped = weights.astype(np.float64), hessian.astype(np.float64)
    damped += DAMPING * np.diag(damped).mean() * np.eye(len(damped))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    scales = grid.scales.reshape(len(weights), -1).astype(np.float64)
    zeros = grid.zeros.reshape(len(weights), -1)
    result = np.empty_like(left)
    for j in range(left.shape[1]):
        s, z = scales[:, j // block], zeros[:, j // block]
        result[:, j] = s * (np.clip(np.rint(left[:, j] / s + z), 0, grid.top) - z)
        error = (left[:, j] - result[:, j]) / upper[j, j]
        left[:, j:] -= np.outer(error, upper[j, j:])
    return result


@pytest.mark.parametrize("symmetric", [True, False])
def test_it_is_the_algorithm_of_the_paper(symmetric: bool) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(7, 80)).astype(np.float32)
    hessian, block = hessian_of(correlated(rng, 80)), 16
    grid = find_grid(cut(weights, block), 4, "search", symmetric)
    per_row = grid.scales.reshape(7, -1), grid.zeros.reshape(7, -1)

    def known(blocks: Floats, here: slice) -> Grid:
        number = here.start // block
        return Grid(15, per_row[0][:, number], per_row[1][:, number])

    found, levels = gptq(weights, feedback(hessian), block, known)
    ours = found.values(levels).reshape(7, -1)
    np.testing.assert_allclose(ours, paper(weights, hessian, grid, block), rtol=1e-4, atol=1e-6)


def test_without_correlation_it_is_rounding() -> None:
    weights = np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)
    identity = np.eye(64, dtype=np.float32)
    grid, levels = gptq(
        weights, feedback(identity), 32, lambda blocks, _: find_grid(blocks, 4, "search", True)
    )
    np.testing.assert_array_equal(levels, grid.levels(cut(weights, 32)))


def test_errors_of_equal_inputs_cancel() -> None:
    """Where all inputs of a row are the same number only the sum of the weights matters."""
    weights = np.random.default_rng(2).normal(size=(6, 64)).astype(np.float32)
    same = InputStatistics(np.ones(64), np.ones(64), lambda: np.ones((64, 64), dtype=np.float32))
    back = quantize_blocks(weights, 4, 32, "gptq", statistics=same).dequantized()
    plain = quantize_blocks(weights, 4, 32, "search").dequantized()
    left, rounded = (np.abs((w - weights).sum(axis=1)) for w in (back, plain))
    assert left.max() < 0.25
    assert left.mean() < 0.3 * rounded.mean()


@given(st.integers(0, 1000), st.booleans(), st.sampled_from([4, 8]))
@settings(max_examples=25)
def test_outputs_are_nearer_than_after_rounding(seed: int, symmetric: bool, bits: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, columns = correlated(rng, 72), 72
    weights = rng.normal(size=(12, columns)).astype(np.float32)
    error = {}
    for method in ("round", "gptq"):
        back = quantize_blocks(
            weights, bits, 32, method, symmetric=symmetric, statistics=statistics_of(inputs)
        ).dequantized()
        error[method] = np.square(inputs @ (back - weights).T).sum()
    assert error["gptq"] < 0.7 * error["round"]


def test_inputs_that_were_always_zero_do_no_harm() -> None:
    rng = np.random.default_rng(3)
    inputs = correlated(rng, 64)
    inputs[:, 10:20] = 0
    weights = rng.normal(size=(4, 64)).astype(np.float32)
    back = quantize_blocks(weights, 4, 32, "gptq", statistics=statistics_of(inputs)).dequantized()
    assert np.isfinite(back).all()
    assert np.abs(back - weights)[:, 10:20].max() < 0.6
