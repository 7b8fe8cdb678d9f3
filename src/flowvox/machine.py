"""What this machine offers a process, and what the process has used of it."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")  # where Linux shows RAPL's energy counters
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")


def cores() -> int:
    """Physical cores this process may use: its affinity without hyper-threads, its container's share.

    Matrix products of one sequence are bound by memory and vector units, which two hyper-threads of
    a core share, so a thread per physical core is the default everywhere.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    siblings = {
        _read(f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list") for cpu in allowed
    }
    physical = len(siblings) if None not in siblings else len(allowed)
    return max(1, min(physical, _container_share()))


def memory_bytes() -> int | None:
    """Physical memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def peak_rss_bytes() -> int | None:
    """Most memory this process ever held, mapped files included; None where unknown.

    VmHWM first: ru_maxrss is inherited through exec, so a child of a large process reports its parent.
    """
    for line in (_read("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024  # Darwin counts in bytes


def memory_use() -> dict[str, int] | None:
    """Bytes this process holds now, where Linux tells.

    rss: all; anonymous: its own, which nothing can reclaim; file: of mapped files; pss: all, with what
    it shares divided among those who share it.
    """
    found = {}
    for line in (_read("/proc/self/smaps_rollup") or "").splitlines():
        name, _, value = line.partition(":")
        if name in {"Rss", "Pss", "Anonymous"}:
            found[name.lower()] = int(value.split()[0]) * 1024
    if len(found) < 3:
        return None
    return found | {"file": found["rss"] - found["anonymous"]}


def cpu_name() -> str:
    """The processor as it names itself, else its architecture."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def energy_joules() -> list[float] | None:
    """Energy counters of the processor packages (RAPL), if this machine shows them to the user.

    AMD's are found under the same names. `psys`, the whole machine with the packages in it, is left
    out. Linux lets only root read them unless told otherwise.
    """
    zones = sorted(POWERCAP.glob("intel-rapl:?"))
    packages = [z for z in zones if (_read(f"{z}/name") or "").startswith("package")]
    values = [_read(f"{zone}/energy_uj") for zone in packages]
    if not values or None in values:
        return None
    return [int(value) / 1e6 for value in values if value]


def spent_joules(before: list[float] | None, after: list[float] | None) -> float | None:
    """Between two readings; None without them, or where a counter wrapped around."""
    if before is None or after is None:
        return None
    spent = [b - a for a, b in zip(before, after, strict=True)]
    return sum(spent) if min(spent) >= 0 else None


def cpu_features() -> list[str]:
    """The instruction sets that matter for integer matrix products, where Linux lists them."""
    words = set((_read("/proc/cpuinfo") or "").split())
    return [name for name in CPU_FEATURES if name in words]


def cpu_identity() -> str:
    """The processor's name and a digest of everything it can do, as far as the system tells."""
    lines = (_read("/proc/cpuinfo") or "").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    words = " ".join(sorted(flags.partition(":")[2].split()))
    return f"{cpu_name()} {hashlib.sha256(words.encode()).hexdigest()[:16]}"


def _container_share() -> int:
    """Whole CPUs of a cgroup v2 quota ("max 100000" or "150000 100000"); many without a quota."""
    words = (_read("/sys/fs/cgroup/cpu.max") or "max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return max(1, int(words[0]) // max(1, int(words[1])))
    return sys.maxsize


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return None
