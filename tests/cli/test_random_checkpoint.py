"""`flowvox random-checkpoint`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import Command


def test_the_seed_gives_the_bytes(run: Command, random_micro: Path, tmp_path: Path) -> None:
    shape, out = random_micro / "params.json", tmp_path / "c"
    assert run("random-checkpoint", "--shape", shape, "-o", out, "--seed", 1)[0] == 0
    name = "consolidated.safetensors"
    assert (out / name).read_bytes() == (random_micro / name).read_bytes()
    run.refused("choose another name", "random-checkpoint", "--shape", shape, "-o", out)


def test_an_unknown_shape(run: Command, folder: Path) -> None:
    run.refused("huge", "random-checkpoint", "--shape", "huge", "-o", folder / "d")
    assert list(folder.iterdir()) == []
