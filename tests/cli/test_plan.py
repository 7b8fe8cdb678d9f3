"""`flowvox plan`: exit status, JSON keys, and what it takes as a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.conftest import published_params

from flowvox.planner.devices import load_device

KEYS = {
    "device", "title", "target_rtf", "fits", "reason", "offline", "notes", "sources", "recipe",
    "quality", "evaluations", "rtf", "floor_rtf", "ms_per_frame", "first_audio_seconds", "memory_bytes", "usable_bytes", "bytes",
    "fits_memory", "candidates",
}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint before its weights are downloaded: params.json alone."""
    (tmp_path / "params.json").write_text(json.dumps(published_params()))
    return tmp_path


def test_it_fits(run: Command, checkpoint: Path) -> None:
    answer = run.json("plan", checkpoint, "--device", "rtx-3060-12gb")
    assert set(answer) == KEYS
    assert set(answer["ms_per_frame"]) == {"backbone", "flow", "codec"}
    assert set(answer["memory_bytes"]) == {"weights", "cache", "activations", "process", "total"}
    assert answer["fits"]
    assert answer["rtf"] < 1
    assert answer["reason"] is None
    out = run("plan", checkpoint, "--device", "rtx-3060-12gb")[1]
    assert f"yes: {answer['recipe']}, {answer['quality']} quality" in out


def test_the_answer_is_no(run: Command, checkpoint: Path) -> None:
    status, out, err = run("plan", checkpoint, "--device", "raspberry-pi-5")
    assert (status, err) == (1, "")
    assert "no: Raspberry Pi 5: the 4-bit backbone alone needs 0.18 s per 0.08 s frame" in out
    assert "offline it runs: " in out
    status, out, _ = run("plan", checkpoint, "--device", "raspberry-pi-5", "--json")
    answer = json.loads(out.splitlines()[-1])
    assert status == 1
    assert set(answer) == KEYS
    assert not answer["fits"]
    assert answer["rtf"] == answer["offline"]["rtf"] > 1


def test_a_stricter_target(run: Command, checkpoint: Path) -> None:
    assert run("plan", checkpoint, "--device", "rtx-3060-12gb", "--target-rtf", "0.3")[0] == 0
    assert run("plan", checkpoint, "--device", "rtx-3060-12gb", "--target-rtf", "0.01")[0] == 1


def test_a_bundle_is_planned_with_its_own_recipe(run: Command, bundle: Path) -> None:
    answer = run.json("plan", bundle, "--device", "raspberry-pi-5")
    assert {row["recipe"] for row in answer["candidates"]} == {"fp32"}


def test_this_machine(run: Command, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = replace(load_device("x86-8-cores-ddr5"), name="this", title="a measured processor")
    monkeypatch.setattr("flowvox.eval.probe.measure_this", lambda: measured)
    answer = run.json("plan", checkpoint, "--device", "this")
    assert (answer["device"], answer["title"]) == ("this", "a measured processor")


def test_mistakes(run: Command, checkpoint: Path, tmp_path: Path) -> None:
    run.refused("unknown device 'pdp-11'; there are", "plan", checkpoint, "--device", "pdp-11")
    run.refused("--target-rtf is 0", "plan", checkpoint, "--device", "h200", "--target-rtf", "0")
    run.refused("neither a bundle", "plan", tmp_path / "nothing", "--device", "h200")
    (checkpoint / "params.json").write_text("{")
    run.refused("not valid JSON", "plan", checkpoint, "--device", "h200")
