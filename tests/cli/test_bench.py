"""`flowvox bench`: bundles in turn, and `--component`: which format wins here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.conftest import micro_params

from flowvox.eval import bench, component


@pytest.fixture
def shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(component, "ROUNDS", 3)
    monkeypatch.setattr("flowvox.eval.probe.STREAM_BYTES", 1 << 20)
    file = tmp_path / "shape.json"
    file.write_text(json.dumps(micro_params()))
    return file


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short sentence."""
    monkeypatch.setattr(bench, "SENTENCES", ("Hi.",))
    monkeypatch.setattr(bench, "MAX_SECONDS", 0.4)


def test_bundles_have_the_promised_keys(
    run: Command, micro_bundles: dict[str, Path], random_micro: Path, brief: None
) -> None:
    paths = [micro_bundles["int8"], random_micro]
    baseline = micro_bundles["fp32"]
    result = run.json("bench", *paths, "--baseline", baseline, "--rounds", 1, "--threads", 1)
    assert result["machine"]["threads"] == 1
    first, int8, reference = result["runs"]
    assert [r["bundle"] for r in result["runs"]] == [str(p) for p in (baseline, *paths)]
    promised = {"bundle", "rtf", "ms_per_frame", "first_audio_seconds", "load_seconds",
                "peak_rss_bytes", "bytes"}  # fmt: skip
    for row in result["runs"]:
        assert promised <= set(row)
        assert set(row["rtf"]) == {"median", "p95"}
    assert set(int8["ms_per_frame"]) == {"backbone", "flow", "codec"}
    assert set(reference["ms_per_frame"]) == {"backbone and flow", "codec"}
    assert first["speedup"] == 1
    assert int8["bytes"] < first["bytes"]


def test_the_table_has_energy_where_it_is_counted(
    run: Command, bundle: Path, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = run("bench", bundle, "--rounds", 1)
    assert status == 0
    assert out.split()[:2] == ["bundle", "RTF"]
    monkeypatch.setattr(bench, "energy_joules", lambda: None)
    assert "energy" not in run("bench", bundle, "--rounds", 1)[1]
    spent = iter(range(100))
    monkeypatch.setattr(bench, "energy_joules", lambda: [float(next(spent))])
    assert "J/s" in run("bench", bundle, "--rounds", 1)[1]


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
