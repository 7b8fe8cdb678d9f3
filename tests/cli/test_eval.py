"""`flowvox eval`: three files, the players' recordings, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.command import Command
from tests.eval.faults import DEAF

from flowvox.eval.ears import Ears
from flowvox.eval.report.schema import read_report

SUITE: dict[str, Any] = {
    "schema": 1, "name": "brief", "version": 1, "description": "Two texts.", "voices": ["first"],
    "seeds": [0, 1],
    "limits": {"max_seconds": 0.5, "frames": 4, "teacher_forced": 2, "codec": 2, "free_running": 4,
               "speed": 1},
    "groups": {"all": [{"id": "one", "text": "Hi."}, {"id": "two", "text": "Go on."}]},
}  # fmt: skip


@pytest.fixture
def suite(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A suite file, an empty cache, no listening models."""
    pytest.importorskip("soundfile")
    monkeypatch.setenv("FLOWVOX_CACHE", str(folder / "cache"))
    monkeypatch.setattr(Ears, "open", lambda *arguments, **options: DEAF)
    (folder / "brief.yaml").write_text(yaml.safe_dump(SUITE))
    return "brief.yaml"


@pytest.fixture
def pair(micro_bundles: dict[str, Path]) -> tuple[Any, ...]:
    return micro_bundles["int8"], "--baseline", micro_bundles["fp16"]


def test_it_writes_the_report(run: Command, suite: str, pair: tuple[Any, ...]) -> None:
    status, out, err = run("eval", *pair, "--suite", suite, "-o", "out")
    assert status == 0, err
    assert {path.name for path in Path("out").iterdir()} == {"report.json", "report.md", "report.html", "audio"}  # fmt: skip
    report = read_report(Path("out/report.json"))
    assert [bundle["recipe"] for bundle in report["bundles"]] == ["fp16", "int8"]
    assert report["suite"]["name"] == "brief"
    assert report["command"][0] == "flowvox"
    for bundle in report["bundles"]:
        for line in bundle["utterances"]:
            assert line["audio"] is not None
            assert (Path("out") / line["audio"]).stat().st_size > 0
    assert "out/report.html" in out
    assert "wer: not measured: install flowvox[eval]" in err


def test_the_gate_reads_what_it_writes(run: Command, suite: str, pair: tuple[Any, ...]) -> None:
    assert run("eval", *pair, "--suite", suite, "-o", "out")[0] == 0
    assert run("gate", "out/report.json", "--calibrate", "--budget", "budget.yaml")[0] == 0
    status, out, _ = run("gate", "out/report.json", "--budget", "budget.yaml")
    assert (status, out.splitlines()[-1]) == (0, "passed")
    limits = yaml.safe_load(Path("budget.yaml").read_text())
    limits["recipes"]["int8"]["margins"]["wer"] = 0.1
    Path("budget.yaml").write_text(yaml.safe_dump(limits))
    status, out, _ = run("gate", "out/report.json", "--budget", "budget.yaml")
    assert status == 1
    assert "outside: int8 wer (free-running): not measured: install flowvox[eval]" in out


def test_json_is_the_report(run: Command, suite: str, pair: tuple[Any, ...]) -> None:
    shown = run.json("eval", *pair, "--suite", suite, "-o", "out")
    assert shown == json.loads(Path("out/report.json").read_text("utf-8"))


def test_a_checkpoint_runs_the_reference(
    run: Command, suite: str, random_micro: Path, micro_bundles: dict[str, Path]
) -> None:
    shown = run.json(
        "eval", micro_bundles["fp32"], "--baseline", random_micro, "--suite", suite, "-o", "out"
    )
    assert [bundle["recipe"] for bundle in shown["bundles"]] == ["reference", "fp32"]
    rows = shown["bundles"][1]["rows"]
    assert rows["fsq_exact"]["value"] == rows["same_top_p"]["value"] == 1
    assert rows["kld_max"]["value"] < 1e-6


def test_a_sweep_of_sampling_settings(
    run: Command, suite: str, pair: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowvox.eval.statistics.RESAMPLES", 20)
    arguments = ("eval", *pair, "--suite", suite, "-o", "out", "--sweep")
    shown = run.json(*arguments)
    assert {path.name for path in Path("out").iterdir()} == {"sweep.json", "sweep.md"}
    assert shown == json.loads(Path("out/sweep.json").read_text("utf-8"))
    assert [artifact["recipe"] for artifact in shown["artifacts"]] == ["fp16", "int8"]
    assert shown["not_measured"]["wer"] == "install flowvox[eval]"
    status, out, _ = run(*arguments)
    assert status == 0
    assert out.strip() == Path("out/sweep.md").read_text("utf-8").strip()


def test_what_cannot_be_measured_is_refused(
    run: Command, suite: str, pair: tuple[Any, ...], folder: Path
) -> None:
    run.refused("neither a suite file nor one of", "eval", *pair, "--suite", "none", "-o", "out")
    run.refused("neither a bundle", "eval", folder, *pair[1:], "--suite", suite, "-o", "out")
    run.refused("neither a bundle", "eval", pair[0], "--baseline", folder, "--suite", suite, "-o", "out")  # fmt: skip
    other = SUITE | {"voices": ["nobody"]}
    Path(suite).write_text(yaml.safe_dump(other))
    run.refused("needs the voice nobody", "eval", *pair, "--suite", suite, "-o", "out")
    run.refused("is a file; name a folder", "eval", *pair, "--suite", suite, "-o", suite)
    run.refused("is a file; name a folder", "eval", *pair, "--suite", suite, "-o", f"{suite}/out")
    assert not Path("out").exists()
