"""Bootstrap intervals cover the truth, pairing removes what both sides share, verdicts use bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.eval.statistics import STATISTICS, Interval, bootstrap, verdict

MEAN = STATISTICS["mean"]


def utterances(values: np.ndarray) -> list[np.ndarray]:
    return [np.array([v]) for v in values]


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(60):
        interval = bootstrap(utterances(rng.normal(3.0, 1.0, 40)), None, MEAN, seed)
        hits += interval.low <= 3.0 <= interval.high
    assert hits >= 51


def test_pairing_removes_the_difficulty_of_the_sentences() -> None:
    rng = np.random.default_rng(1)
    difficulty = rng.normal(0, 10, 50)
    ours = utterances(difficulty + 0.5 + rng.normal(0, 0.1, 50))
    delta = bootstrap(ours, utterances(difficulty), MEAN)
    assert delta.value == pytest.approx(0.5, abs=0.1)
    assert delta.high - delta.low < 0.2


def test_word_errors_are_summed_before_they_are_divided() -> None:
    rows = [np.array([[1.0, 1.0]]), np.array([[0.0, 9.0]])]
    assert bootstrap(rows, None, STATISTICS["ratio"]).value == 0.1


def test_one_utterance_says_nothing_about_the_next() -> None:
    delta = bootstrap(utterances(np.array([0.0])), None, MEAN)
    assert (delta.low, delta.high) == (-np.inf, np.inf)
    assert verdict(delta, "lower", 0.1) == "unsure"


def test_no_error_is_not_infinite() -> None:
    assert STATISTICS["decibels"](np.array([[4.0, 0.0]])) == 120.0
    assert STATISTICS["decibels"](np.array([[1.0, 0.01]])) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("low", "high", "better", "says"),
    [(0.0, 0.9, "lower", "pass"), (0.5, 1.5, "lower", "unsure"), (1.1, 1.5, "lower", "fail"),
     (-0.9, 5.0, "higher", "pass"), (-1.5, -0.5, "higher", "unsure"), (-2.0, -1.1, "higher", "fail"),
     (-9.0, 9.0, "none", "no margin")],
)  # fmt: skip
def test_a_verdict_is_about_the_bad_end_of_the_interval(
    low: float, high: float, better: str, says: str
) -> None:
    assert verdict(Interval(0.0, low, high, 5), better, 1.0) == says  # type: ignore[arg-type]


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12), st.integers(0, 5))
def test_the_interval_lies_within_the_data_and_is_repeatable(
    values: list[float], seed: int
) -> None:
    rows = utterances(np.array(values))
    interval = bootstrap(rows, None, MEAN, seed)
    assert min(values) - 1e-6 <= interval.low <= interval.high <= max(values) + 1e-6
    assert interval == bootstrap(rows, None, MEAN, seed)
