"""Rows -> the figures of the report: values, deltas with intervals, verdicts, curves, noise floor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowvox.eval.forced import BINS
from flowvox.eval.measure import Collected, Measured
from flowvox.eval.metrics import METRICS, Metric
from flowvox.eval.statistics import STATISTICS, Interval, Rows, Verdict, bootstrap, verdict

NOT_MEASURED: dict[str, Any] = {
    "value": None, "baseline": None, "delta": None, "low": None, "high": None, "n": 0,
    "verdict": "not measured",
}  # fmt: skip


def summarize(measured: Measured, baseline: Measured) -> dict[str, dict[str, Any]]:
    """Every metric of an artifact against the baseline, on the utterances that both have."""
    return {
        metric.id: _row(metric, measured.rows, baseline.rows)
        for metric in METRICS
        if metric.level not in ("speed", "size")
    }


def judged(metric: Metric, value: float, delta: Interval, baseline: float) -> dict[str, Any]:
    """A row of the report; an unbounded interval has null ends."""
    result: Verdict = verdict(delta, metric.better, metric.margin)
    ends = [x if math.isfinite(x) else None for x in (delta.low, delta.high)]
    return {
        "value": value, "baseline": baseline, "delta": delta.value, "low": ends[0],
        "high": ends[1], "n": delta.n, "verdict": result,
    }  # fmt: skip


def _row(metric: Metric, rows: Collected, baseline: Collected) -> dict[str, Any]:
    statistic = STATISTICS[metric.statistic]
    ours = rows.get(metric.rows, {})
    if metric.direct:
        if not ours:
            return dict(NOT_MEASURED)
        found = bootstrap(list(ours.values()), None, statistic)
        perfect = metric.perfect or 0.0
        ends = found.value - perfect, found.low - perfect, found.high - perfect
        return judged(metric, found.value, Interval(*ends, found.n), perfect)
    base = baseline.get(metric.rows, {})
    both = [key for key in ours if key in base]
    if not both:
        return dict(NOT_MEASURED)
    pair = [ours[key] for key in both], [base[key] for key in both]
    value, reference = (statistic(np.concatenate(side)) for side in pair)
    return judged(metric, value, bootstrap(*pair, statistic), reference)


def noise_floor(floor: Measured, baseline: Measured) -> dict[str, Any]:
    """The baseline against itself with another seed: what is not more than this is chance.

    Teacher-forced: the same codes with other noise. Free-running: the same text and voice.
    """
    result: dict[str, Any] = {}
    for metric in METRICS:
        row = _row(metric, floor.rows, baseline.rows)
        if row["n"]:
            delta = {"mean": row["delta"], "low": row["low"], "high": row["high"], "n": row["n"]}
            result[metric.id] = delta
    return result


def curves(rows: Collected) -> dict[str, Any]:
    """Errors along steps, layers, codebooks, and by distance to the rounding boundary."""
    result: dict[str, Any] = {}
    if steps := _total(rows, "velocity_error_per_step"):
        result["velocity_error_per_step"] = _relative(steps[0])
    if layers := _total(rows, "error_per_layer"):
        result["error_per_layer"] = {"backbone": _relative(layers[0])}
    if per_codebook := rows.get("fsq_exact_per_codebook"):
        agreement = np.concatenate(list(per_codebook.values())).mean(0)
        result["fsq_agreement_per_codebook"] = agreement.tolist()
    if boundary := _total(rows, "boundary"):
        counts, flipped = boundary[0].T.tolist()
        edges = np.linspace(0, 0.5, BINS + 1).tolist()
        result["boundary_distance"] = {"edges": edges, "baseline": counts, "flipped": flipped}
    return result


def _total(rows: Collected, name: str) -> list[Rows]:
    """[the sum over utterances], or nothing."""
    found = rows.get(name)
    return [np.concatenate(list(found.values())).sum(0)] if found else []


def _relative(energies: Rows) -> list[float]:
    """(error, signal) energies -> relative RMS errors."""
    return [float(np.sqrt(error / max(signal, 1e-30))) for error, signal in energies]
