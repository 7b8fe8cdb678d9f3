"""Where it is lost: one plot per curve that somebody has."""

from __future__ import annotations

import re
from typing import Any

from flowvox.eval.report.losses import losses


def test_every_curve_has_its_plot(report: dict[str, Any]) -> None:
    assert [chart.title for chart in losses(report)] == [
        "Backbone: error after each layer",
        "Flow head: error after each layer",
        "Codec decoder: error after each layer",
        "Flow: velocity error at each step",
        "Acoustic codes equal to the baseline's",
        "Distance to a rounding boundary",
        "How likely a value flips by distance",
    ]


def test_a_bundle_without_a_curve_is_left_out(report: dict[str, Any]) -> None:
    del report["bundles"][1]["curves"]["velocity_error_per_step"]
    steps = next(chart for chart in losses(report) if "velocity" in chart.title)
    assert "--series-1" not in steps.svg
    assert "--series-2" in steps.svg


def test_gaps_and_empty_curves(report: dict[str, Any]) -> None:
    for bundle in report["bundles"]:
        bundle["curves"] = {
            "error_per_layer": {"backbone": [None, 0.1, None], "flow": [], "codec": [None, None]},
            "boundary_distance": {"edges": [0.0, 0.5], "baseline": [0], "flipped": [0]},
        }
    titles = [chart.title for chart in losses(report)]
    assert "Backbone: error after each layer" in titles
    assert not [title for title in titles if title.startswith(("Flow", "Codec"))]
    for bundle in report["bundles"]:
        bundle["curves"] = {}
    assert losses(report) == []


def test_the_drawings_take_their_colours_from_the_page(report: dict[str, Any]) -> None:
    for chart in losses(report):
        assert "var(--series-1)" in chart.svg
        assert not re.findall(r"#f0f[0-9a-f]{3}", chart.svg)
        assert 'role="img" aria-label="' in chart.svg
