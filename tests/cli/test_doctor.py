"""`flowvox doctor`."""

from __future__ import annotations

from importlib import metadata

from tests.cli.command import Command

from flowvox.machine import cores


def test_it_tells_what_runs_here(run: Command) -> None:
    facts = run.json("doctor")
    assert facts["threads"] == cores()
    assert "CPUExecutionProvider" in facts["providers"]
    assert facts["base packages"]["onnxruntime"] == metadata.version("onnxruntime")


def test_what_is_not_installed_is_said(run: Command) -> None:
    status, out, _ = run("doctor")
    assert status == 0
    facts = run.json("doctor")
    missing = [name for key, value in facts.items() if key.endswith("packages")
               for name, version in value.items() if version is None]  # fmt: skip
    assert all(f"{name} missing" in out for name in missing)
