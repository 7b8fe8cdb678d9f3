"""A disk that fills up in the middle: one line, exit 2, and nothing half-written stays."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest


def limited(folder: Path, most: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program in `folder` where no file may grow beyond `most` bytes."""
    return subprocess.run(
        [sys.executable, "-B", "-m", "flowvox", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("most", "arguments"),
    [(20_000, ("quantize", "{checkpoint}", "-r", "fp16", "-o", "out")),
     (20_000, ("random-checkpoint", "--shape", "{checkpoint}/params.json", "-o", "out")),
     (2_000, ("say", "Hello.", "-b", "{bundle}", "--max-seconds", "1", "-o", "out.wav"))],
)  # fmt: skip
def test_one_line_and_nothing_left(
    micro_bundles: dict[str, Path], random_micro: Path, tmp_path: Path,
    most: int, arguments: tuple[str, ...],
) -> None:  # fmt: skip
    names = {"checkpoint": random_micro, "bundle": micro_bundles["fp32"]}
    done = limited(tmp_path, most, *(word.format(**names) for word in arguments))
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "large" in line.lower() or "space" in line
    assert list(tmp_path.iterdir()) == []
