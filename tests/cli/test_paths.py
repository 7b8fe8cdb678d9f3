"""Paths that the operating system refuses: one line, exit 2, whatever the verb."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.command import Command

LONG = "x" * 300  # longer than a file name may be


@pytest.mark.parametrize(
    "arguments",
    [("info", LONG), ("voices", LONG), ("verify", LONG), ("bench", LONG), ("plan", LONG, "--device", "this"),
     ("prepack", LONG), ("say", "Hi.", "-b", LONG), ("say", "Hi.", "-c", LONG), ("say", "Hi.", "-o", LONG),
     ("quantize", LONG, "-r", "int8", "-o", "out"), ("quantize", "{checkpoint}", "-r", LONG, "-o", "out"),
     ("quantize", "{checkpoint}", "-r", "int8", "-o", LONG),
     ("eval", LONG, "--baseline", LONG, "-o", "out"), ("gate", LONG, "--budget", LONG),
     ("random-checkpoint", "--shape", LONG, "-o", "out"), ("random-checkpoint", "-o", LONG)],
)  # fmt: skip
def test_a_name_that_is_too_long(
    run: Command, random_micro: Path, folder: Path, arguments: tuple[str, ...]
) -> None:
    run.refused("xxx", *(word.format(checkpoint=random_micro) for word in arguments))
    assert list(folder.iterdir()) == []


def test_debug_shows_where_it_happened(run: Command, folder: Path) -> None:
    status, _, err = run("info", LONG, "--debug")
    assert status == 2
    assert "Traceback" in err
