"""A report is checked before it is rendered or judged, and the error names the place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowvox.errors import FlowvoxError
from flowvox.eval.report import SCHEMA, read_report, validate

Change = Callable[[dict[str, Any]], Any]


def test_the_sample_is_valid(report: dict[str, Any]) -> None:
    assert validate(report) == report


@pytest.mark.parametrize("foreign", [None, [], {}, "report", {"schema": "1"}, {"manifest": 1}])
def test_a_foreign_file(foreign: object) -> None:
    with pytest.raises(FlowvoxError, match="not a report"):
        validate(foreign)


def test_other_versions(report: dict[str, Any]) -> None:
    with pytest.raises(
        FlowvoxError, match=rf"schema 0, this flowvox reads {SCHEMA}; run flowvox eval"
    ):
        validate(report | {"schema": 0})
    with pytest.raises(FlowvoxError, match=r"schema 99, .* update flowvox"):
        validate(report | {"schema": 99})


def test_files(tmp_path: Path, report: dict[str, Any]) -> None:
    file = tmp_path / "report.json"
    with pytest.raises(FlowvoxError, match=r"report\.json: cannot be read \(No such file"):
        read_report(file)
    file.write_text("<html>")
    with pytest.raises(FlowvoxError, match="it is not JSON"):
        read_report(file)
    file.write_text(json.dumps({"schema": 0}))
    with pytest.raises(FlowvoxError, match=r"report\.json: a report of schema 0"):
        read_report(file)
    file.write_text(json.dumps(report))
    assert read_report(file) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("noise_floor"), "noise_floor: must be there"),
        (lambda r: r["bundles"][1].pop("rows"), r"bundles\[1\].rows: must be there"),
        (lambda r: r["bundles"][1]["rows"]["wer"].update(verdict="fine"), "rows.wer.verdict: must be one of 'pass', 'fail'"),
        (lambda r: r["bundles"][1]["rows"]["wer"].update(n=1.5), "rows.wer.n: must be a number"),
        (lambda r: r["bundles"][1]["rows"]["wer"].update(value=True), "rows.wer.value: must be a number"),
        (lambda r: r["bundles"][0].update(name=None), "name: must be a text"),
        (lambda r: r["suite"].update(voices="heart"), "suite.voices: must be a list"),
        (lambda r: r["metrics"].pop("wer"), "row 'wer' is not among the metrics"),
        (lambda r: r["bundles"][1].update(is_baseline=True), "more than one is the baseline"),
        (lambda r: r["bundles"][1]["curves"]["boundary_distance"]["edges"].pop(), "edges and counts do not fit"),
    ],
)  # fmt: skip
def test_the_error_names_the_place(report: dict[str, Any], change: Change, message: str) -> None:
    change(report)
    with pytest.raises(FlowvoxError, match=message) as raised:
        validate(report)
    assert "\n" not in str(raised.value)


def test_keys_of_later_hands_are_kept(report: dict[str, Any]) -> None:
    report["machine"]["governor"] = "performance"
    assert validate(report)["machine"] == report["machine"]


def test_numbers_that_are_none_become_null(report: dict[str, Any]) -> None:
    report["bundles"][1]["rows"]["wer"]["high"] = math.inf
    report["bundles"][1]["curves"]["velocity_error_per_step"][0] = math.nan
    checked = validate(report)
    assert checked["bundles"][1]["rows"]["wer"]["high"] is None
    assert checked["bundles"][1]["curves"]["velocity_error_per_step"][0] is None
