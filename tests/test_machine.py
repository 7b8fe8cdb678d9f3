"""Cores, memory, and what this process used."""

from __future__ import annotations

import os
import subprocess
import sys

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
