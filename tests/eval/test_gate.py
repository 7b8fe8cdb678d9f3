"""The gate: what is not proven to be inside is outside, and every limit has its row."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.reports import UNMEASURED, bundle, report, row

from flowvox.eval.budget import Budget, BudgetError, Budgets
from flowvox.eval.gate import Check, gate

MARGINS = {"kld_mean": 0.05, "same_top_p": 0.1, "codec_snr": 85.0, "wer": 0.05, "early_stop": 0.1}


def budgets(*recipes: str, **changes: Any) -> Budgets:
    """The same limits for each recipe."""
    limits = Budget(
        changes.get("max_bytes", 1200), changes.get("max_rtf_ratio", 1.0),
        changes.get("margins", MARGINS),
    )  # fmt: skip
    return Budgets("smoke", "fp16", dict.fromkeys(recipes, limits))


def outside(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.bundle, check.metric) for check in checks if not check.inside]


def test_every_limit_has_its_row_with_its_margin() -> None:
    checks = gate(report(bundle("int8"), bundle("int4")), budgets("int8", "int4"))
    assert outside(checks) == []
    int4 = [check for check in checks if check.bundle == "tiny-int4"]
    assert {(c.level, c.metric, c.found, c.margin) for c in int4} == {
        ("all", "failed utterances", 0.0, 0.0),
        ("size", "bytes", 1000.0, 1200),
        ("speed", "rtf_ratio", 0.7, 1.0),
        ("teacher-forced", "kld_mean", 0.03, 0.05),
        ("teacher-forced", "same_top_p", 0.05, 0.1),
        ("codec", "codec_snr", 80.0, 85.0),
        ("free-running", "wer", 0.02, 0.05),
        ("free-running", "early_stop", 0.0, 0.1),
    }
    assert len(checks) == 2 * len(int4)


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1))
def test_the_bad_end_of_the_interval_decides(one: float, other: float, margin: float) -> None:
    low, high = sorted((one, other))
    limits = budgets("int4", margins={"wer": margin, "same_top_p": margin})
    rows = {name: row(name, low, (low + high) / 2, high) for name in ("wer", "same_top_p")}
    bad = [metric for _, metric in outside(gate(report(bundle("int4", **rows)), limits))]
    assert ("wer" in bad) == (high > margin)
    assert ("same_top_p" in bad) == (-low > margin)


@pytest.mark.parametrize(
    ("changes", "metric", "reason"),
    [
        ({"kld_mean": row("kld_mean", 0.04, 0.05, 0.06)}, "kld_mean", ""),
        ({"kld_mean": row("kld_mean", -math.inf, 0.0, math.inf, n=1)}, "kld_mean", "no interval: of one utterance"),
        ({"kld_mean": row("kld_mean", -math.inf, math.nan, math.inf)}, "kld_mean", "not a finite number"),
        ({"wer": UNMEASURED}, "wer", "not measured: install flowvox[eval]"),
        ({"codec_snr": UNMEASURED}, "codec_snr", "not measured"),
        ({"rtf_ratio": UNMEASURED}, "rtf_ratio", "not measured"),
        ({"rtf_ratio": row("rtf_ratio", -0.2, 0.0, 0.01)}, "rtf_ratio", ""),
        ({"size": 1201}, "bytes", ""),
    ],
)  # fmt: skip
def test_what_is_worse_or_not_known_is_outside(
    changes: dict[str, Any], metric: str, reason: str
) -> None:
    missing = {"wer": "install flowvox[eval]"} if changes.get("wer") is UNMEASURED else {}
    checks = gate(report(bundle("int4", **changes), not_measured=missing), budgets("int4"))
    assert outside(checks) == [("tiny-int4", metric)]
    (check,) = (check for check in checks if not check.inside)
    assert check.unknown == reason


def test_a_row_that_is_missing_altogether_is_outside() -> None:
    content = bundle("int4")
    del content["rows"]["wer"]
    assert outside(gate(report(content), budgets("int4"))) == [("tiny-int4", "wer")]


def test_failed_utterances_are_outside_even_where_the_rest_is_fine() -> None:
    failures = [{"utterance": "a/heart/0", "error": "codec: no"}] * 2
    checks = gate(report(bundle("int4") | {"failures": failures}), budgets("int4"))
    assert outside(checks) == [("tiny-int4", "failed utterances")]
    assert checks[0].found == 2


def test_a_recipe_of_the_budget_without_a_bundle_is_outside() -> None:
    checks = gate(report(bundle("int8")), budgets("int8", "int4"))
    assert outside(checks) == [("int4", "bundle in the report")]


def test_every_bundle_of_a_recipe_is_checked() -> None:
    second = bundle("int4", kld_mean=row("kld_mean", 1, 1, 1)) | {"name": "other-int4"}
    checks = gate(report(bundle("int4"), second), budgets("int4"))
    assert outside(checks) == [("other-int4", "kld_mean")]


def test_the_baseline_is_not_judged() -> None:
    assert {check.bundle for check in gate(report(bundle("int4")), budgets("int4"))} == {
        "tiny-int4"
    }


@pytest.mark.parametrize(
    ("content", "limits", "says"),
    [
        (report(bundle("int4")), Budgets("long", "fp16", budgets("int4").recipes), "of suite smoke, the budget for long; run flowvox eval --suite long"),
        (report(bundle("int4")), Budgets("smoke", "fp32", budgets("int4").recipes), "baseline is fp16, the budget's fp32; pass the right --baseline"),
        (report(bundle("int4")), budgets("int8"), "tiny-int4: the budget has no recipe int4; add it"),
        (report(bundle("int4")), budgets("int4", margins={"wre": 0.1}), "limits wre, which the report does not know"),
        (report(bundle("int4")), budgets("int4", margins={"duration_ratio": 0.1}), "limits duration_ratio, but neither way is better"),
    ],
    ids=["suite", "baseline", "recipe", "metric", "direction"],
)  # fmt: skip
def test_a_budget_that_does_not_fit_is_an_error(content: Any, limits: Budgets, says: str) -> None:
    with pytest.raises(BudgetError, match=says):
        gate(content, limits)
