"""The recipes that belong to one checkpoint are found by a command, and say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvox.quantizers.allocation import candidates, estimate, shipped
from flowvox.quantizers.allocation.candidates import label
from flowvox.quantizers.allocation.estimate import Measured
from flowvox.quantizers.allocation.problem import Problem, Request
from flowvox.quantizers.allocation.shipped import allocated_bytes, as_recipe, smallest
from flowvox.quantizers.calibration import cache
from flowvox.recipe import Recipe, load_recipe, save_recipe
from flowvox.reference.checkpoint import Checkpoint

FEW = ("float16", "int8/32", "int4/32", "int4/128")


def test_the_smallest_good_size_is_found() -> None:
    found = smallest(100, 200, lambda size: size >= 137)
    assert 137 <= found <= 138
    assert smallest(100, 200, lambda size: True) == 100
    assert smallest(100, 200, lambda size: False) == 200


def test_bytes_of_a_recipe(micro: Checkpoint) -> None:
    problem = Problem(micro, Request(1e9))
    half = allocated_bytes(problem, load_recipe("fp16"))
    assert half == sum(sizes[0] for sizes in problem.sizes)
    assert allocated_bytes(problem, load_recipe("int4")) < 0.7 * half


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setitem(estimate.SPEECH, "measured", (2, 6))
    monkeypatch.setattr(cache, "UTTERANCES", 2)
    monkeypatch.setattr(cache, "MAX_FRAMES", 6)
    monkeypatch.setenv("FLOWVOX_CACHE", str(tmp_path / "cache"))
    few = [rule for rule in candidates.MATRICES if label(rule) in FEW]
    monkeypatch.setattr(candidates, "MATRICES", tuple(few))
    return tmp_path / "ledger"


def test_all_are_found_and_read_back(micro: Checkpoint, quick: Path, tmp_path: Path) -> None:
    tuned = shipped.find_tuned(micro, "micro", quick)
    mixed = shipped.find_mixed(micro, "micro", quick)
    small = shipped.find_small(micro, "micro", quick)
    problem = Problem(micro, Request(1e9))
    plain = allocated_bytes(problem, load_recipe("int4"))
    assert tuned.cost.size <= plain
    assert mixed.cost.size + problem.fixed_size <= 1.1 * (plain + problem.fixed_size)
    assert small.cost.size <= shipped.ROOM * plain
    most = Measured(problem, "micro", quick).recipe(load_recipe("int4-best"))
    assert small.measured is not None
    assert small.measured.kld <= shipped.SHARE * most.kld
    assert small.measured.latent <= shipped.SHARE * most.latent
    for plan, name, first in (
        (tuned, "int4-tuned", ()),
        (mixed, "int4-mixed", ()),
        (small, "small", shipped.LEFT_OUT),
    ):
        recipe = as_recipe(plan, name, first)
        save_recipe(recipe, tmp_path / f"{name}.yaml")
        assert load_recipe(str(tmp_path / f"{name}.yaml")) == recipe
        assert Recipe.from_dict(recipe.to_dict(), name).name == name
    assert load_recipe(str(tmp_path / "small.yaml")).omits("codec_encoder")


@pytest.mark.parametrize("name", ["embedded", "small"])
def test_shipped_recipes_agree_on_the_codec(name: str) -> None:
    rules = load_recipe(name).rules
    assert tuple(rule for rule in rules if rule.component.startswith("codec")) == shipped.LEFT_OUT
