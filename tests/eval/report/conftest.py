"""The sample report, and the folder with its recordings."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from tests.eval.report.sample import sample_report


@pytest.fixture(scope="session")
def _sampled(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("report")
    return sample_report(folder), folder


@pytest.fixture
def report(_sampled: tuple[dict[str, Any], Path]) -> dict[str, Any]:
    """A copy that a test may change."""
    return copy.deepcopy(_sampled[0])


@pytest.fixture
def folder(_sampled: tuple[dict[str, Any], Path]) -> Path:
    """Where the recordings lie."""
    return _sampled[1]
