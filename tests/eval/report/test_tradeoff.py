"""The Pareto front, and which metrics are plotted."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowvox.eval.report.tradeoff import front, tradeoffs

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


def test_the_front() -> None:
    costs_and_errors = [(55.0, 0.04), (18.0, 0.045), (20.0, 0.05), (12.0, 0.07)]
    assert front(costs_and_errors, higher=False) == [3, 1, 0]
    assert front(costs_and_errors, higher=True) == [3]


@given(points, st.booleans())
def test_the_front_is_what_nobody_beats(pairs: list[tuple[int, int]], higher: bool) -> None:
    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        gain = a[1] - b[1] if higher else b[1] - a[1]
        return a[0] <= b[0] and gain >= 0 and (a[0] < b[0] or gain > 0)

    unbeaten = {k for k, pair in enumerate(pairs) if not any(beats(other, pair) for other in pairs)}
    assert set(front(pairs, higher=higher)) == unbeaten


def test_one_judged_metric_per_quality_level(report: dict[str, Any]) -> None:
    found = tradeoffs(report)
    assert [one.title for one in found] == [
        "Word error rate",
        "KL divergence, mean",
        "Log-mel distance",
    ]
    assert all(one.by_size.startswith("<svg") and one.by_rtf.startswith("<svg") for one in found)
    assert "on the Pareto front: tiny-int4-rtn, tiny-int4, tiny-int8, tiny-fp16" in found[0].by_size


def test_without_speed_or_values_there_is_no_plot(report: dict[str, Any]) -> None:
    for bundle in report["bundles"]:
        bundle["speed"] = None
    assert {one.by_rtf for one in tradeoffs(report)} == {""}
    for bundle in report["bundles"]:
        bundle["rows"] = {}
    assert tradeoffs(report) == []
