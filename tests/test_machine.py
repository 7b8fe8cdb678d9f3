"""Cores, memory, and what this process used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowvox import machine


def test_there_is_a_core_and_never_more_than_the_process_may_use() -> None:
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        assert machine.cores() <= len(os.sched_getaffinity(0))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
@pytest.mark.parametrize(
    ("quota", "expected"),
    [(None, 4), ("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("nonsense", 4)],
)
def test_hyper_threads_and_container_quotas_count(
    monkeypatch: pytest.MonkeyPatch, quota: str | None, expected: int
) -> None:
    """Eight hyper-threads are four cores; a quota of 2.5 CPUs is worth two threads."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))

    def read(path: str) -> str | None:
        if "topology" in path:
            cpu = int(path.split("/cpu")[2].split("/")[0])
            return f"{cpu % 4},{cpu % 4 + 4}"
        return quota if path.endswith("cpu.max") else None

    monkeypatch.setattr(machine, "_read", read)
    assert machine.cores() == expected


def test_peak_memory_is_this_process_own_not_that_of_its_parent() -> None:
    ballast = bytearray(300 << 20)
    own = machine.peak_rss_bytes()
    code = "from flowvox.machine import peak_rss_bytes; print(peak_rss_bytes())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert own is not None
    assert own > len(ballast)
    if sys.platform == "linux":
        assert int(child.stdout) < 200 << 20


def test_energy_is_that_of_the_processor_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`psys` holds the packages once more, `intel-rapl:0:0` is a part of one."""
    monkeypatch.setattr(machine, "POWERCAP", tmp_path)
    assert machine.energy_joules() is None  # no counters at all
    for zone, name, energy in (("0", "package-0", 3_000_000), ("1", "package-1", 5_000_000),
                               ("2", "psys", 9_000_000), ("0:0", "core", 1_000_000)):  # fmt: skip
        folder = tmp_path / f"intel-rapl:{zone}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{energy}\n")
    assert machine.energy_joules() == [3.0, 5.0]
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()  # as if only root might read it
    assert machine.energy_joules() is None


def test_energy_spent_between_two_readings() -> None:
    assert machine.spent_joules([1.0, 2.0], [1.5, 4.0]) == 2.5
    assert machine.spent_joules([1.0, 2.0], [1.5, 0.1]) is None  # a counter wrapped around
    assert machine.spent_joules(None, [1.0]) is None
