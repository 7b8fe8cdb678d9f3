"""`flowvox bench`: bundles in turns, which format wins here, the limit, long runs."""

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


def test_the_limit(
    run: Command, micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowvox.eval.probe.STREAM_BYTES", 1 << 20)
    monkeypatch.setattr("flowvox.eval.limit.find_spec", lambda name: None)
    _, out, _ = run("bench", "--limit", micro_bundles["int4"], "--rounds", 1, "--threads", 1)
    assert "memory is read at" in out
    assert "% of that" in out
    assert "its kernels read" in out
    assert "not compared with llama.cpp" in out


def test_a_long_run(run: Command, micro_bundles: dict[str, Path]) -> None:
    arguments = ("bench", "--long", 2, micro_bundles["int4"], "--rounds", 1, "--threads", 1)
    _, out, _ = run(*arguments)
    assert "2.0 s in one go: RTF" in out
    assert "backbone+flow+codec" in out
    assert "1 utterances in a row: memory" in out
    assert set(run.json(*arguments)) == {
        "bundle", "load_seconds", "one", "many", "memory", "machine",
    }  # fmt: skip


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
    run.refused("one at a time", "bench", tmp_path, "--limit", "--long", 2)
    run.refused("leave out the bundles", "bench", tmp_path, "--component", "flow")
    run.refused("no such shape", "bench", "--component", "flow", "--shape", tmp_path / "no")
