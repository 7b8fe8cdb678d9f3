"""The harness: what fails is reported, what is known is not computed again, every row counts honestly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.eval import faults

from flowvox.errors import FlowvoxError
from flowvox.eval.artifact import BundleArtifact, Spoken
from flowvox.eval.cache import Cache
from flowvox.eval.ears import Ears
from flowvox.eval.harness import evaluate
from flowvox.eval.measure import Measured
from flowvox.eval.metrics import BY_ID, METRICS
from flowvox.eval.report.schema import validate
from flowvox.eval.suite_data import Limits, Sentence, Suite
from flowvox.exporters.gguf.writer import export_gguf
from flowvox.recipe import load_recipe
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.random_checkpoint import write_random_checkpoint

DEAF = faults.DEAF
SUITE = Suite(
    name="three",
    version=1,
    description="Three texts, two voices, two seeds.",
    sentences=tuple(Sentence(f"s{k}", text, (), "all") for k, text in enumerate(("Hi.", "Go on.", "No?"))),
    voices="all",
    seeds=(0, 1),
    limits=Limits(0.6, 5, 4, 3, 8, 1),
    sha256="0" * 64,
)  # fmt: skip
QUIET = faults.without_speed(SUITE)

Run = Callable[..., tuple[dict[str, Any], dict[str, Measured]]]


@pytest.fixture
def run(tmp_path: Path, micro_bundles: dict[str, Path]) -> Run:
    """`run(*bundles)` -> (report, measured), against fp16; a second call finds the first one's cache."""

    def call(*bundles: Path, suite: Suite = QUIET, **options: Any) -> Any:
        rest = {"cache": Cache(tmp_path / "cache"), "ears": DEAF, "command": ["test"]} | options
        return evaluate(list(bundles), micro_bundles["fp16"], suite, **rest)

    return call


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(recipe, text) of everything that is really spoken."""
    calls: list[tuple[str, str]] = []
    speak = BundleArtifact.speak

    def counted(self: BundleArtifact, text: str, *rest: Any) -> Spoken:
        calls.append((self.recipe, text))
        return speak(self, text, *rest)

    monkeypatch.setattr(BundleArtifact, "speak", counted)
    return calls


def test_the_report_is_valid_and_says_what_was_measured(
    run: Run, micro_bundles: dict[str, Path]
) -> None:
    report, measured = run(micro_bundles["int8"], micro_bundles["int4"], suite=SUITE)
    checked = validate(report)
    assert [bundle["recipe"] for bundle in checked["bundles"]] == ["fp16", "int8", "int4"]
    assert [bundle["is_baseline"] for bundle in checked["bundles"]] == [True, False, False]
    assert checked["suite"]["seeds"] == [0, 1]
    for bundle in checked["bundles"]:
        assert set(bundle["rows"]) == set(checked["metrics"]) == set(BY_ID)
        assert bundle["failures"] == []
        assert len(bundle["utterances"]) == 8
        assert bundle["rows"]["rtf_ratio"]["n"] == 2
        found = measured[bundle["path"]]
        for metric in METRICS:
            if metric.level not in ("speed", "size") and bundle["rows"][metric.id]["n"]:
                assert bundle["rows"][metric.id]["n"] == len(found.rows[metric.rows])
    counts = {name: row["n"] for name, row in checked["bundles"][2]["rows"].items()}
    assert counts["kld_mean"] == counts["fsq_exact"] == counts["velocity_error"] == 4
    assert counts["codec_snr"] == counts["codec_nonfinite"] == 3
    assert counts["not_ended"] == counts["silent"] == 8
    assert counts["length_spread"] == 4


def test_the_baseline_loses_nothing_against_itself(
    run: Run, micro_bundles: dict[str, Path]
) -> None:
    report, _ = run()
    rows = report["bundles"][0]["rows"]
    measured = {name: row for name, row in rows.items() if row["verdict"] != "not measured"}
    assert {row["delta"] for row in measured.values()} == {0.0}
    assert not {row["verdict"] for row in measured.values()} & {"fail", "unsure"}


def test_a_crash_in_one_utterance_is_reported_and_not_fatal(
    run: Run, micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime's own exceptions are no RuntimeErrors; anything may happen in there."""
    from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

    speak = BundleArtifact.speak

    def fragile(self: BundleArtifact, text: str, *rest: Any) -> Spoken:
        if self.recipe == "int4" and text == "Go on.":
            raise RuntimeException("Non-zero status code\nand a long story")
        return speak(self, text, *rest)

    monkeypatch.setattr(BundleArtifact, "speak", fragile)
    report, _ = run(micro_bundles["int8"], micro_bundles["int4"])
    _, int8, int4 = validate(report)["bundles"]
    assert int8["failures"] == []
    assert {failure["error"] for failure in int4["failures"]} == {
        "free-running: Non-zero status code"
    }
    failed = {failure["utterance"] for failure in int4["failures"]}
    assert failed == {u["id"] + f"/{u['voice']}/{u['seed']}" for u in int8["utterances"] if u["text"] == "Go on."}  # fmt: skip
    assert int4["rows"]["not_ended"]["n"] == len(int4["utterances"]) == 8 - len(failed)
    assert int4["rows"]["kld_mean"]["n"] == 4  # the baseline's codes are there


def test_a_baseline_that_fails_on_a_text_leaves_the_others(
    run: Run, micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    speak = BundleArtifact.speak

    def fragile(self: BundleArtifact, text: str, *rest: Any) -> Spoken:
        if self.recipe == "fp16" and text == "Hi.":
            raise KeyError("tensor")
        return speak(self, text, *rest)

    monkeypatch.setattr(BundleArtifact, "speak", fragile)
    report, _ = run(micro_bundles["int8"])
    for bundle in validate(report)["bundles"]:
        assert all("s0/" in failure["utterance"] for failure in bundle["failures"])
        assert 0 < bundle["rows"]["kld_mean"]["n"] < 4


def test_a_recognizer_that_crashes_is_reported(
    run: Run, micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        name = "broken"

        def transcribe(self, samples: np.ndarray, rate: int) -> str:
            raise OSError("out of memory")

    ears = Ears(Broken(), None, {}, {})
    report, _ = run(micro_bundles["int8"], ears=ears)
    for bundle in validate(report)["bundles"]:
        assert bundle["rows"]["wer"]["verdict"] == "not measured"
        assert bundle["rows"]["kld_mean"]["n"] == 4
        assert "free-running: out of memory" in {f["error"] for f in bundle["failures"]}


def test_the_second_run_speaks_nothing(
    run: Run, micro_bundles: dict[str, Path], spoken: list[tuple[str, str]]
) -> None:
    first, _ = run(micro_bundles["int8"])
    assert len(spoken) == 2 * 8
    spoken.clear()
    second, _ = run(micro_bundles["int8"])
    assert spoken == []
    assert second["bundles"] == first["bundles"]
    run(micro_bundles["int4"])
    assert {recipe for recipe, _ in spoken} == {"int4"}


def test_a_noise_floor_that_is_speech_on_top_takes_each_sentence_once(
    run: Run, spoken: list[tuple[str, str]]
) -> None:
    suite = replace(QUIET, seeds=(0,), limits=replace(QUIET.limits, free_running="all"))
    report, _ = run(suite=suite)
    assert validate(report)["noise_floor"]["not_ended"]["n"] == 3
    assert len(spoken) == 3 * 2 + 3


def test_a_missing_package_is_named_in_the_report_and_in_the_row(
    run: Run, micro_bundles: dict[str, Path]
) -> None:
    report, _ = run(micro_bundles["int8"])
    assert report["not_measured"] == DEAF.missing
    for bundle in validate(report)["bundles"]:
        for name in DEAF.missing:
            assert bundle["rows"][name] == {
                "value": None, "baseline": None, "delta": None, "low": None, "high": None, "n": 0,
                "verdict": "not measured",
            }  # fmt: skip


def test_bundles_of_another_checkpoint_are_refused(
    run: Run, tmp_path: Path, random_micro: Path, micro_bundles: dict[str, Path]
) -> None:
    """Even if it has the same shape and the same voices."""
    from tests.conftest import export, micro_params

    other = tmp_path / "other"
    write_random_checkpoint(micro_params(), other, seed=2)
    with pytest.raises(FlowvoxError, match="make both from one checkpoint"):
        run(export(other, "fp16", tmp_path / "bundle"))
    with pytest.raises(FlowvoxError, match="make both from one checkpoint"):
        run(other)
    report, _ = run(random_micro)
    assert report["bundles"][1]["recipe"] == "reference"
    assert report["bundles"][1]["components"] == {}


def test_nan_weights_in_a_codec_are_failures_of_that_bundle_alone(
    run: Run, tmp_path: Path, micro_bundles: dict[str, Path]
) -> None:
    broken = faults.plant(faults.nan_in_codec, micro_bundles["int8"], tmp_path / "broken")
    report, _ = run(broken, micro_bundles["int8"], suite=SUITE)
    _, nan, int8 = validate(report)["bundles"]
    assert len(nan["failures"]) == 3 + 8
    assert all("not finite" in failure["error"] for failure in nan["failures"])
    assert nan["rows"]["codec_snr"]["verdict"] == "not measured"
    assert nan["rows"]["kld_mean"]["delta"] == int8["rows"]["kld_mean"]["delta"]
    assert nan["speed"] is None  # it would have ended the measurement of all
    assert int8["failures"] == []
    assert int8["rows"]["rtf_ratio"]["n"] == 2


def test_a_gguf_file_is_heard_but_not_timed(run: Run, random_micro: Path, tmp_path: Path) -> None:
    """It runs in the reference here, whose speed says nothing of the engines which it is for."""
    file = tmp_path / "model.gguf"
    export_gguf(Checkpoint.open(random_micro), load_recipe("fp16"), file)
    report, _ = run(file, suite=SUITE)
    fp16, gguf = validate(report)["bundles"]
    assert gguf["failures"] == []
    assert gguf["rows"]["kld_mean"]["n"] == 4
    assert gguf["speed"] is None
    assert gguf["rows"]["rtf_ratio"]["verdict"] == "not measured"
    assert fp16["speed"] is not None


def test_speed_that_cannot_be_measured_is_reported(
    run: Run, micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any, **options: Any) -> None:
        raise FlowvoxError("int8: cannot be measured (Killed)")

    monkeypatch.setattr("flowvox.eval.harness.run_bench", stopped)
    report, _ = run(micro_bundles["int8"], suite=SUITE)
    for bundle in validate(report)["bundles"]:
        assert [f["error"] for f in bundle["failures"]] == ["speed: int8: cannot be measured (Killed)"]  # fmt: skip
        assert bundle["rows"]["rtf_ratio"]["verdict"] == "not measured"
        assert bundle["rows"]["kld_mean"]["n"] == 4
    assert report["bundles"][1]["rows"]["bytes"]["delta"] < 0  # size needs no clock


def test_a_disturbed_timing_is_repeated_and_the_calmest_counts(
    run: Run, micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads = iter([2.0, 1.5, 1.6, 1.1])

    def timed(paths: list[Path], **options: Any) -> dict[str, Any]:
        spread = next(spreads)
        row = {"rtf": {"median": 1.0, "p95": spread}, "rtf_of_requests": {1: 1.0, 2: 1.0},
               "first_audio_seconds": 0.1, "load_seconds": 0.1, "peak_rss_bytes": 1, "ms_per_frame": {},
               "noisy": spread > 1.25, "joules_per_audio_second": None}  # fmt: skip
        return {"runs": [row | {"bundle": str(path)} for path in paths]}

    monkeypatch.setattr("flowvox.eval.harness.run_bench", timed)
    suite = replace(SUITE, limits=replace(SUITE.limits, speed=4))
    for spread in (1.5, 1.1):  # the second is calm at once
        report, _ = run(micro_bundles["int8"], suite=suite)
        assert {b["speed"]["rtf"]["p95"] for b in validate(report)["bundles"] if b["speed"]} == {
            spread
        }


@pytest.mark.parametrize("counter", [True, False])
def test_energy_is_counted_or_said_to_be_missing(
    run: Run, micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, counter: bool
) -> None:
    spent = iter(range(1000))
    reading = (lambda: [float(next(spent))]) if counter else lambda: None
    monkeypatch.setattr("flowvox.eval.bench.energy_joules", reading)
    report, _ = run(micro_bundles["int8"], suite=SUITE)
    joules = [
        b["speed"]["joules_per_audio_second"] for b in validate(report)["bundles"] if b["speed"]
    ]
    assert len(joules) == 2
    assert all((value or 0) > 0 for value in joules) == counter
    assert ("energy" in report["not_measured"]) == (not counter)


def test_progress_comes_to_its_end(run: Run, micro_bundles: dict[str, Path]) -> None:
    seen: list[tuple[int, int]] = []
    run(micro_bundles["int8"], progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}


def test_an_artifact_that_does_not_open(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FlowvoxError):
        run(tmp_path / "nothing")
