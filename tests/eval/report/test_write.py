"""The three files, each whole or not there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from flowvox.errors import FlowvoxError, MissingPackageError
from flowvox.eval.report import page, read_report, write


def test_three_files(report: dict[str, Any], tmp_path: Path) -> None:
    report["bundles"][1]["rows"]["wer"]["high"] = math.nan
    write(report, tmp_path)  # type: ignore[arg-type]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]
    report["bundles"][1]["rows"]["wer"]["high"] = None
    assert read_report(tmp_path / "report.json") == report
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_an_invalid_report_writes_nothing(report: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FlowvoxError, match="schema 0"):
        write(report | {"schema": 0}, tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_the_measurements_survive_a_missing_package(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "find_spec", lambda package: None)
    with pytest.raises(MissingPackageError):
        write(report, tmp_path)  # type: ignore[arg-type]
    assert read_report(tmp_path / "report.json") == report
