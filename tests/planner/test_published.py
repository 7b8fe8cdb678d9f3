"""The planner against published measurements, and the docs against the planner."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import REPOSITORY

from flowvox.planner.published import ALLOWED, Case, published_cases
from flowvox.planner.tables import PLACE, fill

CASES = list(published_cases())
PAGES = sorted((REPOSITORY / "docs" / "devices").glob("*.md"))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.system)
def test_predictions_are_as_good_as_they_are_called(case: Case) -> None:
    assert case.source
    assert case.note
    if case.role in ALLOWED:
        assert abs(case.error) <= ALLOWED[case.role]
    else:
        assert case.role == "other software"


def test_the_planner_is_never_slower_than_other_software_was() -> None:
    """It predicts this runtime at its best: slower than any published system would be wrong."""
    assert all(case.predicted < case.published for case in CASES if case.role not in ALLOWED)


def test_something_validates_that_calibrates_nothing() -> None:
    assert {case.role for case in CASES} >= set(ALLOWED)


def test_there_are_pages() -> None:
    names = {"README", "rtx-3060-4060", "jetson-orin", "raspberry-pi-5", "x86-cpu"}
    assert {page.stem for page in PAGES} >= names


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_tables_in_the_docs_are_the_planners(page: Path) -> None:
    text = page.read_text("utf-8")
    assert PLACE.search(text)
    mend = "python -m flowvox.planner.tables docs/devices/*.md"
    assert fill(text) == text, f"run {mend}"
