"""`flowvox quantize`: what it answers, what it refuses, and that it leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.command import Command

from flowvox.cli import main
from flowvox.quantizers import encode


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], random_micro: Path):
    """Run the verb on `random_micro` and return its one line of complaint."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["quantize", str(random_micro), *(str(a) for a in arguments)])
        assert ended.value.code == 2
        (line,) = capfd.readouterr().err.splitlines()
        return line

    return run


def test_json_has_the_promised_keys(run: Command, random_micro: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    result = run.json("quantize", random_micro, "-r", "int8", "-o", out)
    assert set(result) == {"path", "bytes", "recipe", "components", "seconds", "peak_rss_bytes"}
    assert set(result["components"]["flow"]) == {"parameters", "bytes", "bits_per_weight"}
    assert result["recipe"] == "int8"
    run.refused("--overwrite", "quantize", random_micro, "-r", "int8", "-o", out)
    run.json("quantize", random_micro, "-r", "fp16", "-o", out, "--overwrite")
    assert run.json("info", out)["recipe"] == "fp16"


def test_dry_run_writes_nothing(run: Command, random_micro: Path, folder: Path) -> None:
    plan = run.json("quantize", random_micro, "-r", "int4", "--dry-run")
    formats = {row["tensor"]: row["format"] for row in plan["tensors"]}
    assert formats["layers.0.attention.wq.weight"] == "int4"
    assert formats["layers.0.attention_norm.weight"] == "float32"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [(("-r", "int3", "-o", "x"), "int3"), (("-r", "int4"), "-o OUT"), (("-o", "x"), "recipe"),
     (("-r", "int4", "-o", "x", "-f", "pdf"), "pdf")],
)  # fmt: skip
def test_bad_options(
    run: Command, random_micro: Path, folder: Path, options: tuple[str, ...], says: str
) -> None:
    run.refused(says, "quantize", random_micro, *options)
    assert list(folder.iterdir()) == []


def started(code: str) -> subprocess.Popen[bytes]:
    """A Python that hears Ctrl-C even if these tests run in the background, where it is ignored."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def test_interrupted_leaves_nothing(random_micro: Path, tmp_path: Path) -> None:
    code = (
        "import time, flowvox.exporters.onnx.bundle_export as e, flowvox.cli as c\n"
        "e.check_graph = lambda *a: (print('checking', flush=True), time.sleep(60))\n"
        f"c.main(['quantize', {str(random_micro)!r}, '-r', 'int4', '-o', {str(tmp_path / 'b')!r}])"
    )
    process = started(code)
    assert process.stdout is not None
    assert process.stdout.readline() == b"checking\n"
    assert [p.name for p in tmp_path.iterdir()] == [f"b.{process.pid}.partial"]
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
def test_what_is_finished_serves_the_next_attempt(
    run: Command, random_micro: Path, tmp_path: Path, ended_by: signal.Signals
) -> None:
    code = (
        "import time, flowvox.exporters.onnx.bundle_export as e, flowvox.cli as c\n"
        "check = e.check_graph\n"
        "def stop(*a):\n"
        "    if a[1].name == 'flow':\n"
        "        print('checking', flush=True), time.sleep(60)\n"
        "    return check(*a)\n"
        "e.check_graph = stop\n"
        f"c.main(['quantize', {str(random_micro)!r}, '-r', 'int4', '-o', {str(tmp_path / 'b')!r}])"
    )
    process = started(code)
    assert process.stdout is not None
    assert process.stdout.readline() == b"checking\n"
    time.sleep(0.2)
    os.kill(process.pid, ended_by)
    _, err = process.communicate(timeout=30)
    (left,) = tmp_path.iterdir()
    assert left.name == f"b.{process.pid}.partial"
    if ended_by == signal.SIGINT:
        assert process.returncode == 130
        assert str(left).encode() in err
    run.refused("neither a bundle", "verify", left)
    made = (left / "backbone.onnx.data").stat()
    run.json("quantize", random_micro, "-r", "int4", "-o", tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b" / "backbone.onnx.data").stat().st_mtime_ns == made.st_mtime_ns


def test_only_bundles_are_overwritten(refused, random_micro: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "not a bundle" in refused("-r", "int4", "-o", tmp_path, "--overwrite")
    assert (tmp_path / "thesis.txt").exists()
    assert "not a bundle" in refused("-r", "int4", "-o", random_micro, "--overwrite")
    assert (random_micro / "consolidated.safetensors").exists()


def test_a_missing_package_costs_no_time(
    refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(encode, "_installed", lambda package: False)
    monkeypatch.setattr("flowvox.reference.activations.record", lambda *a: pytest.fail("worked"))
    for recipe in ("nf4", "int8-dynamic"):
        line = refused("-r", recipe, "-o", tmp_path / "out")
        assert 'pip install "flowvox[compare]"' in line
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_forgets_tensors(refused, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("{version: 1, name: r, rules: [{component: backbone, format: int4}]}")
    assert "no rule for" in refused("-r", recipe, "-o", tmp_path / "out")
    assert "no rule for" in refused("-r", recipe, "--dry-run")
    assert [file.name for file in tmp_path.iterdir()] == ["r.yaml"]


def test_budgets_ask_for_an_allocation(refused, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out")
    assert "-r auto needs" in refused("-r", "auto", *out)
    assert "for -r auto" in refused("-r", "int4", "--max-size", "1GB", *out)
    assert "2.5GB" in refused("-r", "auto", "--max-size", "1 stone", *out)
    assert "--device" in refused("-r", "auto", "--target-rtf", "0.5", *out)
    assert "unknown device" in refused(
        "-r", "auto", "--max-size", "1GB", "--device", "toaster", *out
    )
    assert "GGUF" in refused("-r", "auto", "--max-size", "1GB", "-f", "gguf", *out)
    assert "smallest bundle" in refused("-r", "auto", "--max-size", "10KB", *out)
    assert list(tmp_path.iterdir()) == []


def test_an_allocated_recipe_is_kept_and_works_again(
    run: Command, random_micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowvox.quantizers.allocation import estimate
    from flowvox.quantizers.calibration import cache

    monkeypatch.setenv("FLOWVOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(estimate.SPEECH, "measured", (2, 4))
    monkeypatch.setattr(cache, "UTTERANCES", 2)
    monkeypatch.setattr(cache, "MAX_FRAMES", 4)
    budget = ("-r", "auto", "--max-size", "800KB")
    plan = run.json("quantize", random_micro, *budget, "--dry-run", "-o", tmp_path / "plan.yaml")
    assert plan["bytes"] <= 800_000
    assert len(plan["groups"]) > 20
    assert plan["measured"]["kld"] >= 0
    out = run("quantize", random_micro, *budget, "-o", tmp_path / "b")[1]
    assert "loss" in out
    assert (tmp_path / "b.yaml").read_bytes() == (tmp_path / "plan.yaml").read_bytes()
    again = run.json("quantize", random_micro, "-r", tmp_path / "b.yaml", "-o", tmp_path / "c")
    assert again["recipe"] == "auto"
    assert again["bytes"] <= 800_000
    assert run.json("info", tmp_path / "b")["bytes"] == run.json("info", tmp_path / "c")["bytes"]


def test_a_model_too_large_to_measure_is_estimated(
    run: Command, random_micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowvox.quantizers.allocation import estimate

    monkeypatch.setenv("FLOWVOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(estimate, "MEASURABLE", 0)
    budget = ("--max-size", "800KB", "--target-rtf", "9", "--device", "raspberry-pi-5")
    plan = run.json("quantize", random_micro, "-r", "auto", *budget, "--dry-run")
    assert plan["bytes"] <= 800_000
    assert 0 < plan["rtf"] <= 9
    assert plan["measured"] is None
    assert plan["predicted"]["kld"] > 0
    assert all(rule.get("method") != "gptq" for rule in plan["recipe"]["rules"])
