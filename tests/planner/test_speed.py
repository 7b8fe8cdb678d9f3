"""Time per frame: what must be true of any device, and figures known from arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planner.conftest import recipe

from flowvox.planner.devices import Device, Kernel, load_device
from flowvox.planner.memory import artifact_bytes, memory
from flowvox.planner.published import shape_config
from flowvox.planner.speed import predict
from flowvox.recipe import Recipe

CONFIG = shape_config("tiny")
FORMATS = st.sampled_from(["float32", "float16", "int8", "int4"])
RECIPES = st.builds(recipe, FORMATS, FORMATS)
FACTORS = st.floats(1.0, 100.0)
DEVICES = st.sampled_from(["raspberry-pi-5", "rtx-3060-12gb", "epyc-zen3-2-cores", "h200"])


def faster(device: Device, read: float = 1.0, arithmetic: float = 1.0) -> Device:
    """The device with that many times the bandwidth and arithmetic."""
    kernels = {
        name: Kernel(k.read * read, k.few * arithmetic, k.many * arithmetic)
        for name, k in device.kernels.items()
    }
    return replace(device, bandwidth=device.bandwidth * read, kernels=kernels)


@settings(max_examples=40)
@given(DEVICES, RECIPES, st.integers(1, 12), FACTORS, FACTORS)
def test_more_bandwidth_and_more_arithmetic_are_never_slower(
    name: str, stored: Recipe, steps: int, read: float, arithmetic: float
) -> None:
    device = load_device(name)
    slow = predict(device, CONFIG, stored, steps)
    fast = predict(faster(device, read, arithmetic), CONFIG, stored, steps)
    assert fast.rtf <= slow.rtf
    assert fast.first_audio <= slow.first_audio
    assert all(fast.frame[stage] <= slow.frame[stage] for stage in slow.frame)


@settings(max_examples=40)
@given(DEVICES, RECIPES, st.integers(1, 12))
def test_reading_memory_is_the_floor_and_steps_cost_time(
    name: str, stored: Recipe, steps: int
) -> None:
    device = load_device(name)
    speed = predict(device, CONFIG, stored, steps)
    assert 0 < speed.floor_rtf <= speed.rtf
    assert speed.rtf == pytest.approx(speed.total * CONFIG.frame_rate)
    assert predict(device, CONFIG, stored, steps + 1).rtf > speed.rtf


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_fewer_bits_are_never_larger(kind: str) -> None:
    order = [recipe(name, name) for name in ("float32", "float16", "int8", "int4")]
    sizes = [artifact_bytes(CONFIG, stored) for stored in order]
    needs = [memory(CONFIG, stored, kind).total for stored in order]
    assert sizes == sorted(sizes, reverse=True)
    assert needs == sorted(needs, reverse=True)
    assert artifact_bytes(CONFIG, recipe("int4", "int4", block=128)) < sizes[-1]


def test_the_backbone_of_a_raspberry_pi_is_too_slow_by_traffic_alone() -> None:
    """3.03 G weights of 4.5 bits at 57 % of 17 GB/s: 0.176 s, and a frame lasts 0.08 s."""
    speed = predict(load_device("raspberry-pi-5"), shape_config("4b"), recipe("int4", "int4"), 7)
    assert speed.frame["backbone"] == pytest.approx(0.176, rel=0.08)


@pytest.mark.parametrize(
    ("device", "floor"),
    [
        ("rtx-3060-12gb", 0.22),
        ("rtx-4090", 0.08),
        ("jetson-orin-nano-super", 0.69),
        ("intel-n150", 3.0),
    ],
)
def test_floors_from_traffic(device: str, floor: float) -> None:
    """4-bit backbone and 8-bit flow head, 4.33 GB a frame. Heads, codec and cache come on top; that the
    first layer reads its query, key and value once a frame takes off 3 %."""
    speed = predict(load_device(device), shape_config("4b"), recipe("int4", "int8"), 7)
    assert 0.97 * floor < speed.floor_rtf < 1.15 * floor


def test_the_measured_layers_of_the_flow_head() -> None:
    """6 rows through a layer took 12.6 ms in int4, 8.2 in int8-dynamic: 7 x 3 of them, less what
    the last layer saves."""
    device, config = load_device("epyc-zen3-2-cores"), shape_config("4b")
    for flow, layer in (("int4", 12.6), ("int8-dynamic", 8.2)):
        speed = predict(device, config, recipe("int4", flow), 7)
        assert 0.66 * 21 * layer < 1e3 * speed.frame["flow"] < 1.05 * 21 * layer


def test_eight_bit_flow_heads_are_a_trap_on_cuda() -> None:
    device, config = load_device("rtx-3060-12gb"), shape_config("4b")
    half, eight, four = (
        predict(device, config, recipe("int4", name), 7).frame["flow"]
        for name in ("float16", "int8", "int4")
    )
    assert four < half < eight
