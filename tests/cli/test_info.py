"""`flowvox info` and `flowvox voices`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.command import Command


def test_a_bundle(run: Command, bundle: Path) -> None:
    facts = run.json("info", bundle)
    assert facts["kind"] == "bundle"
    assert facts["recipe"] == "fp32"
    assert facts["voices"] == ["first", "second"]
    assert facts["bytes"] == sum(
        f.stat().st_size for f in bundle.rglob("*") if f.is_file() and f.name != "manifest.json"
    )
    assert facts["components"]["backbone"]["bits_per_weight"] > 30
    text = run("info", bundle)[1]
    assert "fp32" in text
    assert "backbone" in text


def test_a_checkpoint(run: Command, random_micro: Path) -> None:
    facts = run.json("info", random_micro)
    assert facts["kind"] == "checkpoint"
    parts = facts["components"].values()
    assert facts["parameters"] == sum(part["parameters"] for part in parts)
    assert "cc0-1.0" in run("info", random_micro)[1]


def test_voices(run: Command, bundle: Path, random_micro: Path) -> None:
    for path in (bundle, random_micro):
        assert run("voices", path)[:2] == (0, "first\nsecond\n")
        assert run.json("voices", path) == {"voices": ["first", "second"]}


@pytest.mark.parametrize("verb", ["info", "voices"])
def test_neither_bundle_nor_checkpoint(run: Command, tmp_path: Path, verb: str) -> None:
    run.refused("neither a bundle", verb, tmp_path)
    run.refused("neither a bundle", verb, tmp_path / "nothing")


@pytest.mark.parametrize("verb", ["info", "voices"])
def test_a_bundle_with_a_missing_file(run: Command, copy: Path, verb: str) -> None:
    (copy / "flow.onnx").unlink()
    run.refused("flow.onnx: is missing", verb, copy)


def test_debug_shows_the_traceback(run: Command, tmp_path: Path) -> None:
    status, _, err = run("info", tmp_path, "--debug")
    assert status == 2
    assert "Traceback" in err
