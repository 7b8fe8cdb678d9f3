"""A sweep of sampling settings: what it tries, what it compares with, and how it judges."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import REPOSITORY
from tests.eval.faults import DEAF

from flowvox.errors import FlowvoxError
from flowvox.eval.artifact import BundleArtifact, Spoken, open_artifact, with_sampling
from flowvox.eval.cache import Cache
from flowvox.eval.suite_data import Limits, Sentence, Suite, Utterance
from flowvox.eval.sweep import MOST_EVALUATIONS, sweep, within_floor
from flowvox.eval.sweep_screen import FINE, Screen, frames_of
from flowvox.eval.sweep_settings import (
    COUNTS,
    FULL,
    INTERVALS,
    controls,
    intervals_of,
    name,
    presets,
    solvers_and_grids,
)
from flowvox.eval.sweep_table import MARKERS, fill, table
from flowvox.presets import QUALITIES
from flowvox.schedule import GRIDS, Sampling

SUITE = Suite(
    name="two",
    version=1,
    description="Two texts, one voice, two seeds.",
    sentences=tuple(Sentence(f"s{k}", text, (), "all") for k, text in enumerate(("Hi.", "No?"))),
    voices=("first",),
    seeds=(0, 1),
    limits=Limits(0.4, 5, "all", 1, "all", 1),
    sha256="0" * 64,
)

Run = Callable[[], dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def rough_intervals() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowvox.eval.statistics.RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def run(micro_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run()` sweeps int4 and int8 against fp32, always with the same cache."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    bundles = [micro_bundles["int8"], micro_bundles["int4"]]
    return lambda: sweep(
        bundles, micro_bundles["fp32"], SUITE, cache=cache, ears=DEAF, command=["test"]
    )


@pytest.fixture(scope="module")
def report(run: Run) -> dict[str, Any]:
    return run()


@pytest.fixture(scope="module")
def screen(micro_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Screen:
    """The fp32 bundle over twelve frames of its own."""
    artifact, cache = open_artifact(micro_bundles["fp32"]), Cache(tmp_path_factory.mktemp("frames"))
    utterance = Utterance(SUITE.sentences[0], "first", 0)
    codes = np.zeros((12, artifact.config.n_codebooks), dtype=np.int32)
    said = [(utterance, Spoken(codes, np.zeros(0, np.float32), True))] * 2
    return Screen(artifact, frames_of(artifact, said, 12, 1, cache), cache)


def test_what_is_tried() -> None:
    settings = solvers_and_grids()
    assert len(set(settings)) == len(settings) == len({name(s) for s in settings})
    assert {s.evaluations for s in settings} == set(COUNTS) == set(range(2, 9))
    for count in COUNTS:
        # Euler and Adams-Bashforth always, midpoint with an even number, Heun with an odd one.
        assert sum(s.evaluations == count for s in settings) == 3 * len(GRIDS)
    assert FULL in settings
    assert {s.guidance_interval for s in intervals_of(settings[:3])} == set(INTERVALS)
    assert len(presets()) == len(QUALITIES)
    assert name(Sampling("heun", 2, 1.2, "sway", (0.2, 0.8))) == "heun 2, sway, guidance 0.2 to 0.8"


def test_a_setting_is_another_artifact_to_the_cache(micro_bundles: dict[str, Path]) -> None:
    artifact = open_artifact(micro_bundles["fp32"])
    assert with_sampling(artifact, Sampling()).sha256 == artifact.sha256
    schedules = {s.schedule().tobytes(): s for s in solvers_and_grids()}
    hashes = {with_sampling(artifact, setting).sha256 for setting in schedules.values()}
    assert len(hashes) == len(schedules)


def test_the_reference_speaks_as_the_bundle_does_with_any_setting(
    micro_bundles: dict[str, Path], random_micro: Path
) -> None:
    setting = Sampling("heun", 2, 1.2, "sway", (0.2, 0.8))
    said = [
        with_sampling(open_artifact(path), setting).speak("Hi.", "first", 1, 0.5).codes
        for path in (micro_bundles["fp32"], random_micro)
    ]
    np.testing.assert_array_equal(*said)


def test_screening_compares_with_full_and_with_the_exact_solution(screen: Screen) -> None:
    full = screen.of(FULL)
    assert (full.same_level.value, full.joint, full.snr) == (1.0, 1.0, 120.0)
    assert screen.of(FINE).fine_snr == 120.0
    assert full.fine_snr == pytest.approx(screen.of(FINE).snr, abs=3.0)
    errors = [screen.of(replace(FULL, steps=steps)).fine_snr for steps in (2, 4, 8, 32)]
    assert errors == sorted(errors)
    second_order = screen.of(Sampling("adams-bashforth", 8))
    assert second_order.fine_snr > errors[2]
    assert screen.of_another_seed().snr < full.fine_snr


def test_the_report_has_every_artifact_at_both_levels(report: dict[str, Any]) -> None:
    json.dumps(report, allow_nan=False)
    assert [artifact["recipe"] for artifact in report["artifacts"]] == ["fp32", "int8", "int4"]
    first, *others = report["artifacts"]
    tried = {row["name"] for row in first["screened"]}
    assert {name(s) for s in solvers_and_grids()} < tried
    assert any("guidance" in setting for setting in tried)
    for other in others:
        assert {name(s) for s in controls()} <= {row["name"] for row in other["screened"]} < tried
        assert other["frames"] == first["frames"]
    heard = ({2, 3, 4}, {2, 4}, {2, 4})  # of the others, the presets alone
    for artifact, evaluations in zip(report["artifacts"], heard, strict=True):
        full, *rest = artifact["spoken"]
        assert (full["name"], full["verdict"]) == (name(FULL), "pass")
        assert {row["rows"]["not_ended"]["n"] for row in artifact["spoken"]} == {4}
        assert {row["evaluations"] for row in rest} == evaluations
        by_name = {row["name"]: row for row in artifact["screened"]}
        assert by_name[name(FULL)]["same_level"] == 1.0
        assert {row["failures"] == [] for row in artifact["spoken"]} == {True}
    joint = {a["recipe"]: a["screened"] for a in report["artifacts"]}
    assert all(row["joint"] == row["same_level"] for row in joint["fp32"])
    full_of = {r: next(x for x in rows if x["name"] == name(FULL)) for r, rows in joint.items()}
    assert full_of["int4"]["joint"] < full_of["int8"]["joint"] < 1.0


def test_the_best_of_each_number_of_evaluations_speaks(report: dict[str, Any]) -> None:
    first = report["artifacts"][0]
    spoken = {row["name"] for row in first["spoken"]}
    for count in range(2, MOST_EVALUATIONS + 1):
        some = [row for row in first["screened"] if row["evaluations"] == count]
        assert max(some, key=lambda row: row["same_level"])["name"] in spoken


def test_a_second_sweep_speaks_nothing(
    run: Run, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*arguments: object) -> None:
        pytest.fail("it was known")

    monkeypatch.setattr(BundleArtifact, "speak", silent)
    monkeypatch.setattr(BundleArtifact, "latents", silent)
    assert run()["artifacts"] == report["artifacts"]


def test_bundles_of_another_checkpoint_are_refused(
    micro_bundles: dict[str, Path], tmp_path: Path
) -> None:
    from flowvox.embedded import embedded_bundle

    with pytest.raises(FlowvoxError, match="make both from one checkpoint"):
        sweep([embedded_bundle()], micro_bundles["fp32"], SUITE, cache=Cache(tmp_path), ears=DEAF,
              command=[])  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "delta", "low", "high", "verdict"),
    [("wer", 0.01, -0.01, 0.03, "pass"), ("wer", 0.03, 0.01, 0.06, "unsure"),
     ("wer", 0.09, 0.06, 0.12, "fail"), ("wer", -0.2, -0.3, -0.1, "pass"),
     ("similarity", -0.01, -0.03, 0.01, "pass"), ("similarity", -0.1, -0.2, -0.06, "fail"),
     ("wer", 0.5, None, None, "fail")],
)  # fmt: skip
def test_a_difference_is_held_against_the_larger_end_of_the_noise_floor(
    metric: str, delta: float, low: float | None, high: float | None, verdict: str
) -> None:
    row = {"delta": delta, "low": low, "high": high, "n": 8}
    for floor in ({"low": -0.05, "high": 0.01}, {"low": -0.01, "high": 0.05}):
        assert within_floor(metric, row, floor) == verdict


def test_where_another_seed_changes_nothing_nothing_may_get_worse() -> None:
    floor = {"mean": 0.0, "low": 0.0, "high": 0.0}
    rows = [{"delta": x, "low": x, "high": x, "n": 8} for x in (0.0, -0.1, 0.1)]
    assert [within_floor("not_ended", row, floor) for row in rows] == ["pass", "pass", "fail"]


def test_the_tables_hold_what_was_measured(report: dict[str, Any]) -> None:
    text = table(report)
    for artifact in report["artifacts"]:
        for row in artifact["spoken"]:
            assert f"| {artifact['recipe']} | {row['name']} | {row['evaluations']} |" in text
    assert text.count("another seed") == 3
    for lines in (block.splitlines() for block in text.split("\n\n")):
        assert len({line.count("|") for line in lines if line.startswith("|")}) <= 1
    page = fill(f"Before\n{MARKERS[0]}old\n{MARKERS[1]}\nafter", report)
    assert page == f"Before\n{MARKERS[0]}{text}{MARKERS[1]}\nafter"
    assert fill(page, report) == page


def test_the_tables_in_the_docs_are_the_sweeps() -> None:
    docs = REPOSITORY / "docs"
    page = (docs / "solvers.md").read_text("utf-8")
    found = json.loads((docs / "solvers.json").read_text("utf-8"))
    mend = "python -m flowvox.eval.sweep_table docs/solvers.json docs/solvers.md"
    assert fill(page, found) == page, f"run {mend}"


def test_presets_with_few_evaluations_passed_on_every_recipe() -> None:
    """On models/tiny, by the sweep that the docs show."""
    found = json.loads((REPOSITORY / "docs" / "solvers.json").read_text("utf-8"))
    for artifact in found["artifacts"]:
        verdicts = {row["name"]: row["verdict"] for row in artifact["spoken"]}
        for setting in presets():
            assert verdicts[name(setting)] in {"pass", "unsure"}
