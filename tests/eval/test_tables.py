"""The documentation's tables come from the committed reports, which are of this model and these suites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.eval.reports import bundle, report, row

from flowvox.eval.keep import condense
from flowvox.eval.report.schema import Report, read_report
from flowvox.eval.suite import load_suite
from flowvox.eval.tables import BLOCK, fill, note, table
from flowvox.reference.checkpoint import Checkpoint

REPOSITORY = Path(__file__).parents[2]
RESULTS = sorted((REPOSITORY / "docs" / "results").glob("*.json"))
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
SHIPPED = {"fp16", "int8", "int4"}
ALONE = {"tuned": {"fp16", "int4-tuned"}}  # reports about one recipe


@pytest.fixture
def measured() -> Report:
    """fp16 and an int4 that is heard a little worse."""
    return report(bundle("int4", 2000, wer=row("wer", -0.01, 0.02, 0.05)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_those_of_the_committed_reports(page: Path) -> None:
    assert fill(page) == page.read_text("utf-8"), "run make tables"


def test_the_readme_has_one() -> None:
    assert BLOCK.search(PAGES[0].read_text("utf-8"))


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_the_committed_reports_are_not_stale(file: Path) -> None:
    """Not in noise but in shape: this checkpoint, this version of the suite, what is shipped."""
    kept = read_report(file)
    source = Checkpoint.open(REPOSITORY / "models" / "tiny").source_hash()
    assert kept["model"]["source_sha256"] == source, "run make refresh-tiny"  # type: ignore[typeddict-item]
    assert kept["suite"]["sha256"] == load_suite(kept["suite"]["name"]).sha256
    assert {bundle["recipe"] for bundle in kept["bundles"]} >= ALONE.get(file.stem, SHIPPED)


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_single_utterances_stay_out_of_the_repository(file: Path) -> None:
    kept = read_report(file)
    assert condense(kept) == kept
    assert len(json.dumps(kept)) < 400_000


def test_a_row_for_each_artifact_a_column_for_each_figure(measured: Report) -> None:
    head, rule, first, second, *_ = table(measured, ["size", "kld_mean", "wer"]).splitlines()
    assert head == "| artifact | size | Mean KLD | WER |"
    assert rule == "|---|---:|---:|---:|"
    assert first == "| fp16 | 0.0 MB | 0.0000 | 0.0 % |"
    assert second == "| int4 | 0.0 MB | 0.0200 | 2.0 % (+2.0 [-1.0, +5.0]) |"


def test_rows_may_be_chosen(measured: Report) -> None:
    assert "fp16" not in table(measured, ["size"], ["int4"]).partition("\n\n")[0]


def test_what_was_not_measured_is_a_dash(measured: Report) -> None:
    assert "| int4 | - | - | - | - |" in table(measured, ["rtf", "speed", "memory", "bits"])


def test_the_note_says_what_is_chance(measured: Report) -> None:
    assert note(measured, ["wer"]).endswith("itself with another seed: WER +0.0 [-6.0, +4.0].")
    assert "seed" not in note(measured, ["size"])


def test_only_what_is_between_the_comments_changes(measured: Report, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "some.json").write_text(json.dumps(measured))
    head, end = "<!-- table: results/some.json | size wer | int4 -->\n", "<!-- end of table -->"
    page = tmp_path / "page.md"
    page.write_text(f"before\n{head}old\n{end}\nafter\n")
    text = table(measured, ["size", "wer"], ["int4"])
    assert fill(page) == f"before\n{head}{text}{end}\nafter\n"
