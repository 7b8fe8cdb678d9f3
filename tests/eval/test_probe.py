"""Measuring this machine, with matrices small enough for a test."""

from __future__ import annotations

import sys

import pytest

from flowvox.eval import probe
from flowvox.planner.devices import Kernel
from flowvox.planner.plan import make_plan
from flowvox.planner.published import shape_config
from flowvox.recipe import load_recipe


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "INPUTS", 64)
    monkeypatch.setattr(probe, "OUTPUTS", 96)
    monkeypatch.setattr(probe, "STREAM_BYTES", 1 << 20)
    monkeypatch.setattr(probe, "SECONDS", 0.0)


def test_a_measured_machine_can_be_planned_for() -> None:
    device = probe.measure_this(threads=1)
    assert device.bandwidth > 0
    assert set(device.kernels) >= {"float32", "float16", "int8", "int4", "w8a8", "int8-dynamic"}
    assert {"int4/64", "int4/128"} <= set(device.kernels)
    assert all(min(k.read, k.few, k.many) > 0 for k in device.kernels.values())
    assert device.sources == ("measured here, 1 threads",)
    recipes = [load_recipe(name) for name in ("int4", "int4-cpu", "fp16")]
    candidates = make_plan(shape_config("tiny"), recipes, device, 1.0).candidates
    assert {c.recipe for c in candidates} == {"int4", "int4-cpu", "fp16"}


@pytest.mark.parametrize(("name", "bits"), [("int4", 4.5), ("int4/128", 4.125)])
def test_a_kernel_is_bytes_and_operations_over_time(
    monkeypatch: pytest.MonkeyPatch, name: str, bits: float
) -> None:
    """Were every run one second, the rates would be the bytes and operations of the matrices."""
    monkeypatch.setattr(probe, "_run_seconds", lambda session, rows: 1.0)
    monkeypatch.setattr(probe, "INPUTS", 128)
    weights = probe.MATRICES[name] * 128 * 96
    bytes_read = weights * bits / 8
    expected = Kernel(bytes_read / 1e9, 2 * 6 * weights / 1e9, 2 * 64 * weights / 1e9)
    assert probe._kernel(name, 1) == pytest.approx(expected)


def test_without_onnx_only_the_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    device = probe.measure_this(threads=1)
    assert device.bandwidth > 0
    assert device.kernels["int4"].few in {30, 55, 90, 115}
    assert "flowvox[export]" in device.sources[0]
