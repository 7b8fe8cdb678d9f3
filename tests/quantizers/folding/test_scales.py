"""AWQ and SmoothQuant: known answers, and the trained model's matrices."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from flowvox.quantizers.calibration.cache import Calibration
from flowvox.quantizers.encode import rounded
from flowvox.quantizers.folding.awq import RANGE, Taker, awq_scales
from flowvox.quantizers.folding.joints import Joint, joints
from flowvox.quantizers.folding.smoothquant import smooth_scales
from flowvox.quantizers.statistics import InputStatistics
from flowvox.recipe import Rule
from flowvox.reference.checkpoint import Checkpoint

FOUR, EIGHT = Rule("*", "int4"), Rule("*", "w8a8")


def taker(weights: np.ndarray, inputs: np.ndarray, rule: Rule) -> Taker:
    hessian = (inputs.T @ inputs / len(inputs)).astype(np.float32)
    maximum = np.abs(inputs).max(axis=0).astype(np.float32)
    statistics = InputStatistics(np.diag(hessian).copy(), maximum, lambda: hessian)
    return Taker(weights.astype(np.float32), statistics, partial(rounded, rule=rule))


def output_error(one: Taker, columns: np.ndarray) -> float:
    error = one.rounded(one.weights * columns) / columns - one.weights
    return float(np.vdot(error @ one.statistics.hessian(), error))


def test_a_loud_input_gets_finer_levels() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 64))
    inputs[:, 5] *= 30
    one = taker(rng.normal(size=(48, 64)), inputs, FOUR)
    scales = awq_scales([one], Joint(("w",), "norm"))
    assert scales.argmax() == 5
    assert output_error(one, scales) < 0.5 * output_error(one, np.ones(64, dtype=np.float32))


def test_equal_inputs_need_no_scales() -> None:
    rng = np.random.default_rng(1)
    inputs = np.sign(rng.normal(size=(300, 64)))
    scales = awq_scales([taker(rng.normal(size=(8, 64)), inputs, FOUR)], Joint(("w",), "norm"))
    np.testing.assert_array_equal(scales, 1)


def test_never_worse_than_rounding_on_any_layer_of_the_trained_model(
    tiny: Path, tiny_calibration: Calibration
) -> None:
    source = Checkpoint.open(tiny)
    ratios = []
    for joint in joints(source.config):
        takers = [
            Taker(source.read(name)[:64], tiny_calibration(name), partial(rounded, rule=FOUR))
            for name in joint.takers
        ]
        columns = joint.spread(awq_scales(takers, joint))
        folded = sum(output_error(one, columns) for one in takers)
        ratios.append(folded / sum(output_error(one, np.ones_like(columns)) for one in takers))
    assert max(ratios) <= 1
    assert np.mean(ratios) < 0.95


def test_smoothing_splits_the_range_evenly() -> None:
    """With a = 0.5 the largest activation and weight of a column come out equal, but for one factor."""
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(200, 16)) * np.exp(rng.normal(size=16))
    one = taker(rng.normal(size=(32, 16)) * np.exp(rng.normal(size=16)), inputs, EIGHT)
    scales = smooth_scales([one], Joint(("w",), "norm"))
    activations = one.statistics.maximum / scales
    weights = np.abs(one.weights).max(axis=0) * scales
    np.testing.assert_allclose(activations / weights, activations[0] / weights[0], rtol=1e-4)


def test_shared_heads_share_and_silent_inputs_stay_finite() -> None:
    rng = np.random.default_rng(3)
    joint = Joint(("wo",), "wv", kv_heads=2, sharing=3)
    inputs = rng.normal(size=(100, 24)) * np.exp(2 * rng.normal(size=24))
    inputs[:, 4] = 0
    for find, rule in ((awq_scales, FOUR), (smooth_scales, EIGHT)):
        scales = find([taker(rng.normal(size=(8, 24)), inputs, rule)], joint)
        assert scales.shape == (8,)
        assert np.isfinite(scales).all()
        assert scales.max() / scales.min() <= RANGE * 1.01
        heads = joint.spread(scales).reshape(2, 3, 4)
        np.testing.assert_array_equal(heads[:, 0], heads[:, 2])
