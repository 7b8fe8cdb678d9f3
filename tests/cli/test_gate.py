"""`flowvox gate`: every row, one exit status, and the reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.command import Command
from tests.eval.reports import LITTLE, UNMEASURED, bundle, report, row

BUDGET: dict[str, Any] = {
    "version": 1,
    "suite": "smoke",
    "baseline": "fp16",
    "recipes": {
        "int4": {
            "max_bytes": 1200,
            "max_rtf_ratio": 1.0,
            "margins": {"kld_mean": 0.05, "same_top_p": 0.1, "codec_snr": 85, "wer": 0.05},
        }
    },
}
ROWS = ("failed utterances", "bytes", "rtf_ratio", "kld_mean", "same_top_p", "codec_snr", "wer")


@pytest.fixture
def budget(folder: Path) -> str:
    (folder / "budget.yaml").write_text(yaml.safe_dump(BUDGET, sort_keys=False))
    return "budget.yaml"


def save(name: str, *bundles: dict[str, Any], **changes: Any) -> str:
    """Write a report into the working folder."""
    Path(name).write_text(json.dumps(report(*bundles, **changes)))
    return name


def test_inside(run: Command, budget: str) -> None:
    status, out, err = run("gate", save("report.json", bundle("int4")), "--budget", budget)
    assert (status, err) == (0, "")
    for name in ROWS:
        assert name in out
    assert "0.05" in out
    assert out.splitlines()[-1] == "passed"


def test_outside_is_named_and_the_status_is_1(run: Command, budget: str) -> None:
    worse = bundle(
        "int4", kld_mean=row("kld_mean", 0.1, 0.2, 0.3),
        codec_snr=row("codec_snr", -100, -95, -90), wer=UNMEASURED,
    )  # fmt: skip
    file = save("report.json", worse, not_measured={"wer": "install flowvox[eval]"})
    status, out, _ = run("gate", file, "--budget", budget)
    assert status == 1
    for name in ROWS:  # the rows that are fine are shown, too
        assert name in out
    assert out.splitlines()[-4:] == [
        "outside: tiny-int4 kld_mean (teacher-forced): 0.3 nats, at most 0.05",
        "outside: tiny-int4 codec_snr (codec): 100 dB, at most 85",
        "outside: tiny-int4 wer (free-running): not measured: install flowvox[eval], at most 0.05",
        "failed: 3 of 7 outside",
    ]


def test_rows_are_whole_where_the_terminal_is_narrow(run: Command, folder: Path) -> None:
    """As in the log of a CI job; the names are the longest that there are."""
    long = bundle("int4") | {"name": "voxtral-4b-fine-tune-int4-calibrated"}
    limits = {"int4": {"margins": dict.fromkeys(set(LITTLE) - {"duration_ratio"}, 90.0)}}
    (folder / "budget.yaml").write_text(yaml.safe_dump(BUDGET | {"recipes": limits}))
    status, out, _ = run("gate", save("report.json", long), "--budget", "budget.yaml")
    assert status == 0
    rows = [line for line in out.splitlines() if "voxtral-4b-fine-tune-int4-calibrated" in line]
    assert len(rows) == len(LITTLE)
    assert all("inside" in line for line in rows)
    assert any("teacher-forced" in line and "same_top_p" in line for line in rows)
    assert "…" not in out


def test_bytes_are_shown_to_the_last(run: Command, budget: str) -> None:
    large = BUDGET["recipes"]["int4"] | {"max_bytes": 18_677_000}
    Path(budget).write_text(yaml.safe_dump(BUDGET | {"recipes": {"int4": large}}))
    status, out, _ = run("gate", save("r.json", bundle("int4", 18_677_001)), "--budget", budget)
    assert status == 1
    assert "outside: tiny-int4 bytes (size): 18677001 bytes, at most 18677000\n" in out


def test_json(run: Command, budget: str) -> None:
    file = save("report.json", bundle("int4", kld_mean=row("kld_mean", 0.1, 0.2, 0.3)))
    status, out, _ = run("gate", file, "--budget", budget, "--json")
    result = json.loads(out)
    assert (status, result["passed"]) == (1, False)
    assert [check["metric"] for check in result["checks"]] == list(ROWS)
    assert [check["metric"] for check in result["checks"] if not check["inside"]] == ["kld_mean"]
    assert result["checks"][3] == {
        "bundle": "tiny-int4", "level": "teacher-forced", "metric": "kld_mean", "found": 0.3,
        "margin": 0.05, "unit": "nats", "unknown": "", "inside": False,
    }  # fmt: skip
    passed = run.json("gate", save("report.json", bundle("int4")), "--budget", budget)
    assert passed["passed"] is True


def test_several_reports_are_all_judged(run: Command, budget: str) -> None:
    good = save("good.json", bundle("int4"))
    bad = save("bad.json", bundle("int4", wer=row("wer", 0.1, 0.2, 0.3)))
    assert run("gate", good, good, "--budget", budget)[0] == 0
    assert run("gate", good, bad, "--budget", budget)[0] == 1


def test_calibrate_writes_a_budget_that_passes_and_stays(run: Command, folder: Path) -> None:
    reports = [save("1.json", bundle("int4")), save("2.json", bundle("int4", 1100))]
    status, out, _ = run("gate", *reports, "--calibrate", "--budget", "new.yaml")
    assert (status, out) == (0, "new.yaml: written from 2 reports\n")
    written = Path("new.yaml").read_bytes()
    assert run("gate", *reports, "--budget", "new.yaml")[0] == 0
    worse = save("worse.json", bundle("int4", kld_mean=row("kld_mean", 0.04, 0.05, 0.06)))
    assert run("gate", worse, "--budget", "new.yaml")[0] == 1
    run("gate", *reports, "--calibrate", "--budget", "new.yaml")
    assert Path("new.yaml").read_bytes() == written


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BUDGET | {"version": 7}, "budget.yaml: not a budget of version 1"),
        (BUDGET | {"recipes": {"int4": {"margins": {"wer": "much"}}}}, "int4: margins.wer: must be a number"),
        (BUDGET | {"suite": "long"}, "of suite smoke, the budget for long"),
        (BUDGET | {"baseline": "fp32"}, "the report's baseline is fp16"),
        (BUDGET | {"recipes": {"int8": {}}}, "the budget has no recipe int4"),
        (BUDGET | {"recipes": {"int4": {"margins": {"wre": 1}}}}, "limits wre, which the report"),
    ],
    ids=["version", "malformed", "suite", "baseline", "recipe", "metric"],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    run: Command, folder: Path, content: dict[str, Any], says: str
) -> None:
    (folder / "budget.yaml").write_text(yaml.safe_dump(content))
    run.refused(says, "gate", save("report.json", bundle("int4")), "--budget", "budget.yaml")


def test_files_that_are_missing_or_no_reports_are_refused(run: Command, budget: str) -> None:
    run.refused("report.json: cannot be read", "gate", "report.json", "--budget", budget)
    Path("report.json").write_text("{}")
    run.refused("not a report", "gate", "report.json", "--budget", budget)
    run.refused("none.yaml: cannot be read", "gate", save("r.json", bundle("int4")), "--budget", "none.yaml")  # fmt: skip


def test_calibrating_refuses_what_could_never_pass(run: Command, folder: Path) -> None:
    failed = bundle("int4") | {"failures": [{"utterance": "a/b/0", "error": "x"}]}
    run.refused("failed utterances", "gate", save("r.json", failed), "--calibrate", "--budget", "b.yaml")  # fmt: skip
    assert not Path("b.yaml").exists()
