"""`flowvox bench --component`: which format wins here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.conftest import micro_params

from flowvox.eval import component


@pytest.fixture
def shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(component, "ROUNDS", 3)
    monkeypatch.setattr("flowvox.eval.probe.STREAM_BYTES", 1 << 20)
    file = tmp_path / "shape.json"
    file.write_text(json.dumps(micro_params()))
    return file


def test_json(run: Command, shape: Path) -> None:
    result = run.json("bench", "--component", "backbone", "--shape", shape, "--threads", 1)
    assert set(result) == {
        "shape", "component", "layers", "evaluations", "candidates", "winner", "machine",
    }  # fmt: skip
    assert set(result["candidates"][0]) == {
        "format", "ms_per_frame", "relative", "bytes", "recipes",
    }  # fmt: skip
    assert result["machine"]["threads"] == 1


def test_the_table_names_winner_and_recipes(run: Command, shape: Path) -> None:
    status, out, _ = run("bench", "--component", "flow", "--shape", shape)
    assert status == 0
    assert "is the quickest for the flow here" in out
    assert "int4-cpu" in out


def test_mistakes(run: Command, tmp_path: Path) -> None:
    run.refused("name a bundle", "bench")
    run.refused("leave out the bundles", "bench", tmp_path, "--component", "flow")
    run.refused("no such shape", "bench", "--component", "flow", "--shape", tmp_path / "no")
