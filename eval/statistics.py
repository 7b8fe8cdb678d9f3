"""Paired bootstrap over utterances, and verdicts of non-inferiority.

A metric is a statistic over *rows*: one array per utterance, a row per frame (or one for the whole
utterance). Utterances, not frames, are what is resampled: frames of one utterance are not independent.
B. Efron, R. Tibshirani, "An Introduction to the Bootstrap" (1993), percentile intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Better = Literal["higher", "lower", "none"]
Verdict = Literal["pass", "fail", "unsure", "no margin", "not measured"]

RESAMPLES = 1000
CONFIDENCE = 0.95


def _ratio(rows: Rows) -> float:
    total = rows[:, 1].sum()
    return float(rows[:, 0].sum() / total) if total else float("nan")


def _decibels(rows: Rows) -> float:
    ratio = _ratio(rows)
    if np.isnan(ratio):  # nothing over nothing, or a model that answers NaN
        return float("nan") if np.isnan(rows).any() else 120.0
    return float(10 * np.log10(min(max(ratio, 1e-12), 1e12)))


STATISTICS: dict[str, Callable[[Rows], float]] = {
    "mean": lambda rows: float(rows.mean()),
    "median": lambda rows: float(np.median(rows)),
    "p99": lambda rows: float(np.percentile(rows, 99)),
    "max": lambda rows: float(rows.max()),
    "rms": lambda rows: float(np.sqrt(np.square(rows).mean())),
    # Rows (numerator, denominator): sums are divided, so that long utterances count for more.
    "ratio": _ratio,
    "root ratio": lambda rows: float(np.sqrt(_ratio(rows))),
    # Rows (signal energy, error energy), within +-120 dB; no error at all is 120 dB.
    "decibels": _decibels,
}


@dataclass(frozen=True)
class Interval:
    """A statistic with its bootstrap interval over `n` utterances."""

    value: float
    low: float
    high: float
    n: int


def bootstrap(
    rows: Sequence[Rows],
    baseline: Sequence[Rows] | None,
    statistic: Callable[[Rows], float],
    seed: int = 0,
) -> Interval:
    """The statistic of `rows`, or its difference to that of `baseline` utterance by utterance.

    Both sequences are paired: the same text, voice and seed at the same place. Fewer than two
    utterances have no interval, nor has a value that is not finite, whatever the utterances without
    NaN would say: low and high are then -inf and inf.
    """
    if not rows or (baseline is not None and len(baseline) != len(rows)):
        raise ValueError("rows and baseline have to be of the same length, and not empty")

    def evaluate(chosen: NDArray[np.int64]) -> float:
        value = statistic(np.concatenate([rows[i] for i in chosen]))
        if baseline is None:
            return value
        return value - statistic(np.concatenate([baseline[i] for i in chosen]))

    everything = np.arange(len(rows))
    value = evaluate(everything)
    if len(rows) < 2 or not np.isfinite(value):
        return Interval(value, -np.inf, np.inf, len(rows))
    rng = np.random.default_rng(seed)
    draws = [evaluate(rng.integers(0, len(rows), len(rows))) for _ in range(RESAMPLES)]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return Interval(value, float(low), float(high), len(rows))


def verdict(delta: Interval, better: Better, margin: float | None) -> Verdict:
    """Non-inferiority: "pass" only if the bad end of the interval is inside the margin.

    "fail" if even the good end is outside it, or there is no finite value; "unsure" between the two:
    measure more utterances.
    """
    if margin is None or better == "none":
        return "no margin"
    if not np.isfinite(delta.value):
        return "fail"
    sign = 1.0 if better == "lower" else -1.0
    ends = sorted((sign * delta.low, sign * delta.high))
    if ends[1] <= margin:
        return "pass"
    return "fail" if ends[0] > margin else "unsure"
