"""`flowvox doctor`."""

from __future__ import annotations

from importlib import metadata

import pytest
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


def test_cuda_is_explained(run: Command) -> None:
    """This test runs where the installed onnxruntime has no CUDA."""
    assert "onnxruntime-gpu" in run.json("doctor")["cuda"]


def test_a_probe_times_few_rows_in_every_format(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowvox.eval import row_probe

    monkeypatch.setattr(row_probe, "INPUTS", 128)
    monkeypatch.setattr(row_probe, "OUTPUTS", 64)
    times = run.json("doctor", "--probe")["ms on the processor"]
    assert set(times) == {f"{name} x {rows}" for name in row_probe.BITS for rows in (1, 6)}
    assert all(value > 0 for value in times.values())
