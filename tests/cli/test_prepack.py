"""`flowvox prepack`."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import Command


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "flowvox" / "prepacked"


def test_a_bundle_is_laid_out_and_removed(
    run: Command, micro_bundles: dict[str, Path], cache: Path
) -> None:
    done = run.json("prepack", micro_bundles["int4"])
    assert set(done["graphs"]) == {"backbone", "flow", "codec_decoder"}
    files = [file for folder in done["graphs"].values() for file in Path(folder).iterdir()]
    assert done["bytes"] == sum(file.stat().st_size for file in files)
    assert run.json("prepack", "--clear") == {"path": str(cache), "freed": done["bytes"]}
    assert not cache.exists()


def test_mistakes_are_one_line(run: Command, tmp_path: Path) -> None:
    run.refused("give a BUNDLE or --clear", "prepack")
    run.refused("give a BUNDLE or --clear", "prepack", tmp_path, "--clear")
    run.refused("not a bundle", "prepack", tmp_path)


def test_a_disk_that_fills_up_is_one_line(micro_bundles: dict[str, Path], cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-m", "flowvox", "prepack", str(micro_bundles["fp32"])],
        capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert list(cache.iterdir()) == []
