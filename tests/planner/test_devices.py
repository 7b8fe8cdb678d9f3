"""The table of devices."""

from __future__ import annotations

import pytest

from flowvox.errors import FlowvoxError
from flowvox.planner.devices import Device, device_table, load_device
from flowvox.planner.formats import KERNELS
from flowvox.recipe import Rule


@pytest.mark.parametrize("device", device_table().values(), ids=lambda d: d.name)
def test_every_entry_is_possible_and_says_where_it_comes_from(device: Device) -> None:
    assert 0 < device.usable < device.memory
    assert 0 < device.share <= 1
    assert 0 < device.call_us < 100
    formats = {name.split("/")[0] for name in device.kernels}
    assert formats == set(KERNELS[device.kind])
    for kernel in device.kernels.values():
        assert 0 < kernel.read < 1.1 * device.bandwidth
        assert kernel.few > 0
        assert kernel.many > 0
    assert device.sources
    assert "-" in device.name or device.name.isalnum()


def test_a_block_has_a_kernel_of_its_own_where_it_was_measured() -> None:
    large, plain = Rule("backbone", "int4", block=128), Rule("backbone", "int4", block=32)
    vnni, avx2 = load_device("x86-8-cores-ddr5"), load_device("x86-8-cores-ddr4")
    assert vnni.kernel(large) is vnni.kernels["int4/128"]
    assert vnni.kernel(plain) is vnni.kernels["int4"]
    assert avx2.kernel(large) is avx2.kernel(plain) is avx2.kernels["int4"]
    assert vnni.kernel(Rule("codec_decoder", "w8")) is vnni.kernels["float32"]


def test_names_are_forgiving() -> None:
    assert load_device("RTX 3060 12GB") is load_device("rtx_3060_12gb")


def test_an_unknown_device_names_the_known_ones() -> None:
    with pytest.raises(FlowvoxError, match=r"unknown device 'pdp-11'; there are .*raspberry-pi-5"):
        load_device("pdp-11")
