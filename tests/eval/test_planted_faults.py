"""The gate goes red on bundles that are broken, green on those that are not, and says where.

Budgets are calibrated on the healthy bundles of models/tiny, as docs/gate.md tells projects to.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import export
from tests.eval import faults
from tests.eval.faults import DEAF, Fault, plant

from flowvox.eval.budget import Budgets, calibrate, read_budgets
from flowvox.eval.cache import Cache
from flowvox.eval.ears import Ears
from flowvox.eval.gate import Check, gate
from flowvox.eval.harness import evaluate
from flowvox.eval.report.schema import BundleReport, Report, validate
from flowvox.eval.suite_data import Limits, Sentence, Suite

SEEN = (
    "We cannot put off living until we are ready.",
    "Put things back where you found them.",
    "Pop it into the pot.",
    "And this is just on the client.",
)
UNSEEN = (
    "A gray heron stood motionless beside the mill pond.",
    "Loud voices echoed through the empty theater.",
)
SUITE = Suite(
    name="planted",
    version=1,
    description="Four sentences that the model was trained on, two that it has never seen.",
    sentences=tuple(
        Sentence(f"{group}-{k}", text, (), group, ("heart",))
        for group, texts in (("seen", SEEN), ("unseen", UNSEEN))
        for k, text in enumerate(texts)
    ),
    voices=("heart",),
    seeds=(0, 1),
    limits=Limits(2.4, 30, "all", 3, 4, 0),
    sha256="0" * 64,
)
FAULTS: dict[str, tuple[Fault, str]] = {
    "rope": (faults.wrong_rope_layout, "int4"),
    "guidance": (faults.swapped_guidance, "int8"),
    "level": (faults.off_by_one_level, "int8"),
    "scales": (faults.half_the_scales_zero("layers.2.attention.wv.weight"), "int4"),
    "codec": (faults.noisy_codec, "int4"),
}
LOGITS = {"kld_mean", "kld_median", "kld_p99", "kld_max", "same_top_p", "rms_delta_p", "baseline_rank",
          "missed_end", "false_end"}  # fmt: skip


class Measurements:
    """One evaluation of healthy and broken bundles, and a budget that knows only the healthy."""

    def __init__(self, report: Report, folder: Path, *healthy: str) -> None:
        self.report = report
        self.bundles = {bundle["name"]: bundle for bundle in report["bundles"]}
        (folder / "budget.yaml").write_text(yaml.safe_dump(calibrate([self.only(*healthy)])))
        self.budgets = read_budgets(folder / "budget.yaml")

    def only(self, *names: str) -> Report:
        """The report as if only these bundles had been measured."""
        kept = [self.bundles[name] for name in ("fp16", *names)]
        return validate({**self.report, "bundles": kept})

    def judge(self, name: str) -> list[Check]:
        """What the gate says of one bundle."""
        recipe = self.bundles[name]["recipe"]
        limits = {recipe: self.budgets.recipes[recipe]}
        budgets = Budgets(self.budgets.suite, self.budgets.baseline, limits)
        return gate(self.only(name), budgets)

    def outside(self, name: str) -> set[str]:
        """Metrics by which the gate is red."""
        return {check.metric for check in self.judge(name) if not check.inside}

    def levels(self, name: str) -> set[str]:
        """Levels at which it is."""
        return {check.level for check in self.judge(name) if not check.inside}

    def rows(self, name: str, level: str) -> dict[str, Any]:
        """The rows of a bundle at one level."""
        known = self.report["metrics"]
        rows = self.bundles[name]["rows"]
        return {metric: rows[metric] for metric in rows if known[metric]["level"] == level}


@pytest.fixture(scope="module")
def bundles(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, tiny_int4: Path
) -> dict[str, Path]:
    """Healthy ones by recipe, broken ones by what is wrong with them."""
    folder = tmp_path_factory.mktemp("planted")
    paths = {recipe: export(tiny, recipe, folder / recipe) for recipe in ("fp16", "int8")}
    paths["int4"] = tiny_int4
    for name, (fault, recipe) in FAULTS.items():
        paths[name] = plant(fault, paths[recipe], folder / name)
    return paths


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def measured(
    bundles: dict[str, Path], cache: Cache, tmp_path_factory: pytest.TempPathFactory
) -> Measurements:
    """All of them, by ears that need no packages."""
    baseline, *others = bundles.values()
    report, _ = evaluate(others, baseline, SUITE, cache=cache, ears=DEAF, command=["test"])
    return Measurements(validate(report), tmp_path_factory.mktemp("budget"), "int8", "int4")


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_healthy_bundles_are_green(measured: Measurements, recipe: str) -> None:
    assert measured.outside(recipe) == set()


@pytest.mark.parametrize("name", FAULTS)
def test_only_measuring_can_tell(
    bundles: dict[str, Path], measured: Measurements, name: str
) -> None:
    """Every file is what the manifest says, the size is right, the bundle speaks."""
    checks = {check.metric: check for check in measured.judge(name)}
    assert checks["failed utterances"].inside
    assert checks["bytes"].inside
    assert len(measured.bundles[name]["utterances"]) == 4


def test_a_wrong_rope_layout_is_caught_in_the_backbone(measured: Measurements) -> None:
    outside = measured.outside("rope")
    assert outside >= {"kld_mean", "kld_median", "same_top_p", "rms_delta_p", "hidden_error"}
    assert "fsq_exact_flow_only" not in outside  # given the baseline's states, the flow is right
    assert "codec" not in measured.levels("rope")


def test_swapped_guidance_is_caught_in_the_flow_head(measured: Measurements) -> None:
    outside = measured.outside("guidance")
    assert outside >= {"velocity_error", "fsq_exact", "fsq_exact_flow_only"}
    assert not outside & (LOGITS | {"hidden_error"})
    assert "codec" not in measured.levels("guidance")


def test_a_level_too_high_is_caught_by_the_levels(measured: Measurements) -> None:
    """Nothing is further off than a level; the semantic codes are not touched at all."""
    outside = measured.outside("level")
    assert outside >= {"fsq_exact", "fsq_exact_flow_only"}
    rows, healthy = (measured.rows(name, "teacher-forced") for name in ("level", "int8"))
    for metric in (*LOGITS, "hidden_error"):
        assert rows[metric] == healthy[metric]
    assert rows["fsq_exact"]["value"] < 0.1
    assert rows["fsq_within_one"]["value"] > 0.9
    assert "codec" not in measured.levels("level")


def test_missing_scales_are_caught_in_the_backbone(measured: Measurements) -> None:
    outside = measured.outside("scales")
    assert outside >= {"kld_mean", "kld_median", "rms_delta_p", "hidden_error"}
    assert "fsq_exact_flow_only" not in outside
    assert "codec" not in measured.levels("scales")
    errors = layer_errors(measured.bundles["scales"]), layer_errors(measured.bundles["int4"])
    jumps = [k for k, (ours, healthy) in enumerate(zip(*errors, strict=True)) if ours > 2 * healthy]
    assert jumps[0] == 2  # the layer that was broken


def layer_errors(bundle: BundleReport) -> list[float]:
    return [error or 0.0 for error in bundle["curves"]["error_per_layer"]["backbone"]]


def test_a_noisy_codec_is_caught_at_the_codec_level_alone(measured: Measurements) -> None:
    """The codes are the same; so is everything that looks at them."""
    assert measured.levels("codec") == {"codec"}
    assert measured.outside("codec") >= {
        "codec_snr",
        "codec_log_mel",
        "codec_stft",
        "codec_silence",
    }
    assert measured.rows("codec", "teacher-forced") == measured.rows("int4", "teacher-forced")


def test_with_packages_it_is_heard_as_well(
    bundles: dict[str, Path], cache: Cache, tmp_path: Path
) -> None:
    ears = Ears.open()
    if ears.missing:
        pytest.skip("; ".join(sorted(set(ears.missing.values()))))
    few = replace(SUITE, limits=replace(SUITE.limits, teacher_forced=2, codec=2, free_running=4))
    chosen = [bundles[name] for name in ("int4", "rope", "codec")]
    report, _ = evaluate(chosen, bundles["fp16"], few, cache=cache, ears=ears, command=["test"])
    heard = Measurements(validate(report), tmp_path, "int4")
    assert heard.outside("int4") == set()
    assert heard.outside("codec") >= {"codec_pesq", "codec_stoi"}
    assert heard.outside("rope") >= {"wer", "cer"}
