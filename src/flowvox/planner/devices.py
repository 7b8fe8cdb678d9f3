"""Devices: what they hold, read and multiply.

The table is devices.toml: the base install reads TOML, but not YAML.

A kernel is what onnxruntime multiplies a storage format with. Its time for R rows is
max(bytes / read, 2 * R * weights / arithmetic) (flowvox.planner.speed).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from flowvox.errors import FlowvoxError
from flowvox.planner.formats import KERNELS, kernels
from flowvox.recipe import Rule

VERSION = 1
THIS = "this"


@dataclass(frozen=True)
class Kernel:
    """read: GB/s of stored weights at one row; few, many: 1e9 operations/s at 2-16 rows and beyond.

    A multiplication and an addition count as two operations.
    """

    read: float
    few: float
    many: float


@dataclass(frozen=True)
class Device:
    """A machine as the planner sees it.

    kind: "cpu" or "cuda". memory, usable: GB in all, and left for a process. bandwidth: GB/s of the
    memory; share: the part of it that reading weights reaches. kernels: by storage format, some by
    block as well (planner.formats.kernels).
    call_us: microseconds that a graph node costs beside its work. sources: where the figures are from.
    """

    name: str
    title: str
    kind: str
    memory: float
    usable: float
    bandwidth: float
    share: float
    kernels: Mapping[str, Kernel]
    call_us: float
    sources: tuple[str, ...]

    def kernel(self, rule: Rule) -> Kernel:
        """What multiplies a matrix stored so."""
        return next(self.kernels[name] for name in kernels(rule) if name in self.kernels)


def load_device(name: str) -> Device:
    """A device of the table; case, blanks, underscores and the maker's name do not matter.

    "orin-nano-super" is jetson-orin-nano-super. Raises FlowvoxError.
    """
    wanted = re.sub(r"[\s_]+", "-", name.strip().casefold())
    table = device_table()
    if wanted not in table:
        longer = [name for name in table if name.endswith(f"-{wanted}")]
        wanted = longer[0] if len(longer) == 1 else wanted
    if wanted not in table:
        known = ", ".join(sorted(table))
        raise FlowvoxError(
            f"unknown device {name!r}; there are {known}, and {THIS!r} to measure here"
        )
    return table[wanted]


@cache
def device_table() -> dict[str, Device]:
    """All devices of devices.toml, by name."""
    data = table_data()
    return {name: _device(name, row, data) for name, row in data["devices"].items()}


@cache
def table_data() -> dict[str, Any]:
    """devices.toml as plain data."""
    text = (resources.files("flowvox") / "planner" / "devices.toml").read_text("utf-8")
    data = tomllib.loads(text)
    assert data["version"] == VERSION
    return data


def cpu_kernels(isa: str, cores: int, read: float) -> dict[str, Kernel]:
    """Kernels of a processor of that instruction set, with `read` GB/s of memory."""
    rates = table_data()["cpu"][isa]
    return {
        name: Kernel(read, rates["few"][name] * cores, rates["many"][name] * cores)
        for name in rates["few"]
    }


def _cuda_kernels(tflops: float, read: float) -> dict[str, Kernel]:
    shares = table_data()["cuda"]
    return {
        name: Kernel(read, shares["few"][name] * tflops * 1e3, shares["many"] * tflops * 1e3)
        for name in KERNELS["cuda"]
    }


def _device(name: str, row: Mapping[str, Any], data: Mapping[str, Any]) -> Device:
    kind = row["kind"]
    read = row["bandwidth"] * row["share"]
    if kind == "cuda":
        kernels = _cuda_kernels(row["tflops"], read)
    else:
        kernels = cpu_kernels(row["isa"], row["cores"], read)
    for kernel, rates in row.get("kernels", {}).items():
        kernels[kernel] = Kernel(**rates)
    return Device(
        name=name,
        title=row["title"],
        kind=kind,
        memory=row["memory"],
        usable=row["usable"],
        bandwidth=row["bandwidth"],
        share=row["share"],
        kernels=kernels,
        call_us=data[kind]["call_us"] * row.get("call_factor", 1.0),
        sources=tuple(row["sources"]),
    )
