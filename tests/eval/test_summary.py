"""Rows -> figures: on what both sides have, with as many utterances as the row says, NaN never hidden."""

from __future__ import annotations

import numpy as np
import pytest
from tests.eval.reports import bundle, report

from flowvox.eval.budget import Budget, Budgets
from flowvox.eval.forced import compare_latents, compare_logits
from flowvox.eval.gate import gate
from flowvox.eval.measure import Measured
from flowvox.eval.metrics import BY_ID, METRICS
from flowvox.eval.statistics import STATISTICS, Interval
from flowvox.eval.summary import NOT_MEASURED, curves, judged, noise_floor, summarize


def measured(**rows: dict[str, list[float] | np.ndarray]) -> Measured:
    """Rows by utterance, metric by metric."""
    result = Measured()
    for name, of_utterances in rows.items():
        for key, values in of_utterances.items():
            result.add(key, {name: np.asarray(values, dtype=np.float64)})
    return result


def test_a_comparison_is_of_the_utterances_that_both_have() -> None:
    ours = measured(mos={"a": [3.0], "b": [2.0], "c": [1.0]})
    base = measured(mos={"a": [4.0], "b": [4.0], "d": [5.0]})
    row = summarize(ours, base)["mos"]
    assert (row["value"], row["baseline"], row["delta"], row["n"]) == (2.5, 4.0, -1.5, 2)


def test_a_direct_metric_needs_no_baseline_and_loses_from_perfect() -> None:
    row = summarize(measured(fsq_exact={"a": [1.0, 0.5], "b": [0.75, 0.75]}), Measured())[
        "fsq_exact"
    ]
    assert (row["value"], row["baseline"], row["delta"], row["n"]) == (0.75, 1.0, -0.25, 2)
    assert row["low"] <= row["delta"] <= row["high"] <= 0


def test_long_utterances_count_for_more_in_error_rates() -> None:
    ours = measured(wer={"short": [[1, 1]], "long": [[0, 9]]})
    base = measured(wer={"short": [[0, 1]], "long": [[0, 9]]})
    row = summarize(ours, base)["wer"]
    assert (row["value"], row["delta"]) == (0.1, 0.1)


def test_what_nobody_measured_is_not_measured() -> None:
    rows = summarize(Measured(), Measured())
    assert set(rows) == {m.id for m in METRICS if m.level not in ("speed", "size")}
    assert all(row == NOT_MEASURED for row in rows.values())
    assert rows["wer"] is not NOT_MEASURED  # a copy: nobody may write into the others
    only_ours = summarize(measured(mos={"a": [3.0]}), measured(mos={"b": [3.0]}))
    assert only_ours["mos"] == NOT_MEASURED


def test_one_utterance_has_no_interval_and_no_verdict() -> None:
    row = summarize(measured(kld={"a": [0.0, 0.0]}), Measured())["kld_mean"]
    assert (row["value"], row["low"], row["high"], row["n"]) == (0.0, None, None, 1)
    assert row["verdict"] == "unsure"


@pytest.mark.parametrize("name", [m.id for m in METRICS if m.level == "teacher-forced"])
def test_nan_in_one_of_many_utterances_is_not_outvoted(name: str) -> None:
    """Most resamples would leave that utterance out, and look fine."""
    metric = BY_ID[name]
    pairs = metric.statistic in ("root ratio", "decibels")  # rows of two energies
    rows = {f"u{k}": np.full((4, 2) if pairs else (4,), metric.perfect) for k in range(8)}
    rows["u3"][0] = np.nan
    row = summarize(measured(**{metric.rows: rows}), Measured())[name]
    assert np.isnan(row["value"])
    assert (row["low"], row["high"], row["n"]) == (None, None, 8)
    assert row["verdict"] in ("fail", "no margin")


def test_the_gate_is_red_for_nan() -> None:
    kld = {f"u{k}": [0.0 if k else np.nan] for k in range(8)}
    rows = summarize(measured(kld=kld), Measured())
    limits = Budgets("smoke", "fp16", {"int4": Budget(None, None, {"kld_mean": 0.05})})
    checks = gate(report(bundle("int4", kld_mean=rows["kld_mean"])), limits)
    assert [(c.metric, c.unknown) for c in checks if not c.inside] == [("kld_mean", "not a finite number")]  # fmt: skip


def test_a_model_that_answers_nan_has_no_good_figure() -> None:
    nan, base = np.full((3, 6), np.nan, np.float32), np.zeros((3, 6), np.float32)
    base[:, 2] = 5
    logits = compare_logits(nan, base, ended=True)
    assert np.isnan(logits["kld"]).all()
    assert logits["same_top_p"].max() == 0
    assert logits["baseline_rank"].min() > 1
    latents = compare_latents(nan, base / 10, levels=21)
    assert latents["fsq_exact"].max() == latents["fsq_within_one"].max() == 0
    assert np.isnan(STATISTICS["decibels"](latents["latent_snr"]))


def test_verdicts_of_a_row() -> None:
    wer = BY_ID["wer"]
    assert judged(wer, 0.1, Interval(0.0, -0.01, 0.01, 9), 0.1)["verdict"] == "pass"
    assert judged(wer, 0.1, Interval(0.0, -0.01, 0.99, 9), 0.1)["verdict"] == "unsure"
    assert judged(wer, 0.9, Interval(0.8, 0.5, 0.99, 9), 0.1)["verdict"] == "fail"
    assert judged(BY_ID["duration_ratio"], 9.0, Interval(8.0, 7.0, 9.0, 9), 1.0)["verdict"] == "no margin"  # fmt: skip


def test_the_noise_floor_is_the_baseline_against_itself() -> None:
    base = measured(mos={"a": [4.0], "b": [4.0]}, kld={"a": [0.0], "b": [0.0]})
    floor = noise_floor(measured(mos={"a": [3.9], "b": [4.2]}, fsq_exact={"a": [0.6]}), base)
    assert floor["mos"]["mean"] == pytest.approx(0.05)
    assert floor["mos"]["low"] <= 0 <= floor["mos"]["high"]
    assert floor["mos"]["n"] == 2
    assert floor["fsq_exact"]["mean"] == pytest.approx(-0.4)
    assert set(floor) == {"mos", "fsq_exact"}  # of the others nothing is known


def test_curves_sum_energies_before_they_divide() -> None:
    """(error, signal) of two steps in two utterances: sqrt(4 / 100) and sqrt(9 / 100)."""
    steps = {"a": [[[1.0, 50.0], [9.0, 90.0]]], "b": [[[3.0, 50.0], [0.0, 10.0]]]}
    found = curves(
        measured(velocity_error_per_step=steps, error_per_layer={"a": [[[1.0, 4.0]]]}).rows
    )
    assert found["velocity_error_per_step"] == pytest.approx([0.2, 0.3])
    assert found["error_per_layer"] == {"backbone": [0.5]}
    assert "boundary_distance" not in found
    assert curves({}) == {}


def test_curves_of_the_levels() -> None:
    base = np.array([[0.0, 0.149], [0.1, 0.02]], dtype=np.float32)
    ours = np.array([[0.0, 0.151], [0.1, 0.02]], dtype=np.float32)
    found = curves(
        measured(**{k: {"a": v} for k, v in compare_latents(ours, base, 21).items()}).rows
    )
    assert found["fsq_agreement_per_codebook"] == [1.0, 0.5]
    distance = found["boundary_distance"]
    assert (distance["edges"][0], distance["edges"][-1]) == (0.0, 0.5)
    assert sum(distance["baseline"]) == 4
    assert distance["flipped"][0] == sum(distance["flipped"]) == 1
