"""The promise of the first screen: install the wheel into an empty environment, and it speaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LARGEST_WHEEL = 14_500_000  # bytes; the bundle inside is 15 MB before compression


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(REPOSITORY),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_room_once_and_the_bundle(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"flowvox"}
    for room in (
        "reference",
        "exporters",
        "quantizers",
        "runtime",
        "eval",
        "cli",
        "recipes",
        "shapes",
    ):
        assert any(name.startswith(f"flowvox/{room}/") for name in names), room
    assert "flowvox/data/tiny-int4/manifest.json" in names
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_an_empty_environment_speaks(wheel: Path, tmp_path: Path) -> None:
    """No model, no network at run time, no torch."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        str(REPOSITORY / "constraints.txt"),
        str(wheel),
    ]
    subprocess.run([python, *install], check=True)
    packages = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True
    )
    installed = {package["name"].lower() for package in json.loads(packages.stdout)}
    assert not installed & {"torch", "onnx", "onnxscript", "gguf", "transformers", "scipy"}
    environment = {"PATH": str(tmp_path / "env" / "bin"), "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    done = subprocess.run(
        ["flowvox", "say", "Hello", "-o", "hello.wav", "--json"],
        cwd=tmp_path, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ended"]
    assert (tmp_path / "hello.wav").stat().st_size > 0.5 * 2 * result["sample_rate"]
