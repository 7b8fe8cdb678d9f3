"""Choosing a recipe and steps, refusing, and saying why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.planner.conftest import recipe

from flowvox.config import ModelConfig
from flowvox.planner.devices import load_device
from flowvox.planner.plan import MARGIN, NOT_OFFERED, make_plan, offered
from flowvox.planner.published import ALLOWED
from flowvox.planner.speed import predict
from flowvox.presets import QUALITIES, preset
from flowvox.recipe import load_recipe, shipped_recipes

HALF, FOUR = recipe("float16", "float16"), recipe("int4", "int4")
RECIPES = [FOUR, HALF]


def test_the_most_exact_that_meets_the_target_is_chosen(config: ModelConfig) -> None:
    device = load_device("rtx-3090")
    assert make_plan(config, RECIPES, device, 1.0).choice is not None
    chosen = [
        make_plan(config, RECIPES, device, target).choice for target in (1.0, 0.2, 0.14, 0.125)
    ]
    assert [(c.recipe, c.quality) for c in chosen if c] == [
        (HALF.name, "full"),
        (FOUR.name, "full"),
        (FOUR.name, "balanced"),
        (FOUR.name, "fast"),
    ]


def test_a_candidate_is_as_fast_as_its_preset_has_evaluations(config: ModelConfig) -> None:
    device = load_device("rtx-3060-12gb")
    plan = make_plan(config, [FOUR], device, 1.0)
    assert [c.quality for c in plan.candidates] == list(reversed(QUALITIES))
    for candidate in plan.candidates:
        assert candidate.evaluations == preset(candidate.quality).evaluations
        assert candidate.speed == predict(device, config, FOUR, candidate.evaluations)


def test_fewer_evaluations_come_with_the_option_that_says_so(config: ModelConfig) -> None:
    device = load_device("rtx-3090")
    notes = [" ".join(make_plan(config, [FOUR], device, target).notes) for target in (1.0, 0.14)]
    assert "--quality" not in notes[0]
    assert "--quality balanced" in notes[1]
    assert f"{preset('balanced').evaluations} times a frame, not the published 7" in notes[1]


def test_a_margin_is_kept_where_possible(config: ModelConfig) -> None:
    device = load_device("rtx-3090")
    fastest = make_plan(config, RECIPES, device, 1.0).candidates[-1]
    plan = make_plan(config, RECIPES, device, fastest.speed.rtf * 1.01)
    assert plan.choice is not None
    assert any("less than the error" in note for note in plan.notes)
    plan = make_plan(config, RECIPES, device, fastest.speed.rtf * MARGIN * 1.01)
    assert not any("less than the error" in note for note in plan.notes)
    assert 1 + ALLOWED["validates"] == MARGIN


def test_too_slow_names_the_backbone_and_offers_offline(config: ModelConfig) -> None:
    plan = make_plan(config, RECIPES, load_device("raspberry-pi-5"), 1.0)
    assert plan.choice is None
    assert plan.reason == ("Raspberry Pi 5: the 4-bit backbone alone needs 0.18 s per 0.08 s frame")
    assert plan.offline is not None
    assert (plan.offline.recipe, plan.offline.quality) == (FOUR.name, "full")
    assert plan.offline.fits


def test_too_slow_although_the_backbone_is_not(config: ModelConfig) -> None:
    plan = make_plan(config, [FOUR], load_device("x86-8-cores-ddr4"), 0.75)
    assert str(plan.reason).startswith("8 cores with AVX2")
    assert f"{FOUR.name}, fast quality, needs" in str(plan.reason)
    assert "--target-rtf 0.75 leaves 60.0 ms" in str(plan.reason)


def test_too_large_has_no_offline_mode(config: ModelConfig) -> None:
    small = replace(load_device("rtx-4060-8gb"), usable=2.0)
    plan = make_plan(config, RECIPES, small, 1.0)
    assert (plan.choice, plan.offline) == (None, None)
    assert "needs 3." in str(plan.reason)
    assert "of its 8 GB only 2.0 are usable" in str(plan.reason)


def test_what_does_not_fit_is_not_chosen(config: ModelConfig) -> None:
    plan = make_plan(config, RECIPES, load_device("rtx-4060-8gb"), 1.0)
    assert not any(c.fits for c in plan.candidates if c.recipe == HALF.name)
    assert plan.choice is not None
    assert plan.choice.recipe == FOUR.name


def test_a_format_without_a_kernel_there(config: ModelConfig) -> None:
    dynamic = recipe("int8-dynamic", "int8-dynamic")
    plan = make_plan(config, [dynamic], load_device("rtx-3090"), 1.0)
    assert plan.candidates == ()
    assert "no kernels for this recipe" in str(plan.reason)
    assert make_plan(config, [dynamic], load_device("raspberry-pi-5"), 1.0).candidates


def test_a_quantized_flow_head_on_cuda_comes_with_its_version(config: ModelConfig) -> None:
    device = load_device("rtx-3060-12gb")
    notes = " ".join(make_plan(config, [FOUR], device, 1.0).notes)
    assert "onnxruntime 1.28 or later" in notes
    assert "computes in float32, for which CUDA has no attention" in notes
    notes = " ".join(make_plan(config, [recipe("int8", "int8")], device, 1.0).notes)
    assert "expands int8 weights for the flow head's 6 rows" in notes


@pytest.mark.parametrize(
    ("name", "best"), [("epyc-zen3-2-cores", "int4-cpu"), ("rtx-4060-8gb", "int4-gpu")]
)
def test_each_class_of_devices_has_its_recipe(config: ModelConfig, name: str, best: str) -> None:
    shipped, device = [load_recipe(name) for name in shipped_recipes()], load_device(name)
    plan = make_plan(config, offered(shipped, device), device, 1.0)
    shown = plan.choice or plan.offline
    assert shown is not None
    assert shown.recipe == best


@pytest.mark.parametrize(
    ("name", "there"),
    [("x86-8-cores-ddr5", True), ("x86-8-cores-ddr4", False), ("raspberry-pi-5", False)],
)
def test_larger_blocks_are_offered_where_they_are_known_to_gain(name: str, there: bool) -> None:
    shipped = [load_recipe(name) for name in shipped_recipes()]
    assert ("int4-vnni" in {r.name for r in offered(shipped, load_device(name))}) == there


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_every_recipe_for_use_is_offered_somewhere(config: ModelConfig, kind: str) -> None:
    shipped = [load_recipe(name) for name in shipped_recipes()]
    device = load_device("raspberry-pi-5" if kind == "cpu" else "rtx-3060-12gb")
    names = {r.name for r in offered(shipped, device)}
    cpu, cuda = {"int4", "int8", "fp16", "int4-cpu"}, {"int4-gpu", "int4-gpu-small", "fp16-gpu"}
    assert names >= (cpu if kind == "cpu" else cuda)
    assert not names & (cuda if kind == "cpu" else cpu)
    assert not names & set(NOT_OFFERED)
    plan = make_plan(config, offered(shipped, device), device, 1.0)
    assert {c.recipe for c in plan.candidates} == names
    assert {c.quality for c in plan.candidates} == set(QUALITIES)
