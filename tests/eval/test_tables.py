"""The README's table comes from the committed report, which is of this model and these suites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowvox.eval.readme import MARKERS, condense, fill, table
from flowvox.eval.report.schema import read_report
from flowvox.eval.suite import load_suite
from flowvox.reference.checkpoint import Checkpoint

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "docs" / "results"
TABLE = "standard"  # the suite of the README's table
SHIPPED = {"fp32", "fp16", "int8", "int4"}


def test_the_table_is_that_of_the_committed_report() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert fill(readme, table(read_report(RESULTS / f"{TABLE}.json"))) == readme


@pytest.mark.parametrize("name", sorted({TABLE, *(f.stem for f in RESULTS.glob("*.json"))}))
def test_the_committed_reports_are_not_stale(name: str) -> None:
    """Not in noise but in shape: this checkpoint, this version of the suite, every shipped recipe."""
    report = read_report(RESULTS / f"{name}.json")
    source = Checkpoint.open(REPOSITORY / "models" / "tiny").source_hash()
    assert report["model"]["source_sha256"] == source  # type: ignore[typeddict-item]
    assert report["suite"]["sha256"] == load_suite(name).sha256
    assert {bundle["recipe"] for bundle in report["bundles"]} >= SHIPPED


def test_single_utterances_stay_out_of_the_repository() -> None:
    report = read_report(RESULTS / f"{TABLE}.json")
    assert condense(report) == report
    assert len(json.dumps(report)) < 200_000


def test_only_the_part_between_the_markers_changes() -> None:
    text = f"before\n{MARKERS[0]}old\n{MARKERS[1]}\nafter"
    assert fill(text, "new\n") == f"before\n{MARKERS[0]}new\n{MARKERS[1]}\nafter"
    with pytest.raises(ValueError, match="substring"):
        fill("no markers", "new")
