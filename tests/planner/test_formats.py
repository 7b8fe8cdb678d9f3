"""Bytes per weight: the planner restates what the quantizers write."""

from __future__ import annotations

import pytest

from flowvox.bundle import Bundle
from flowvox.config import ModelConfig
from flowvox.embedded import embedded_bundle
from flowvox.errors import FlowvoxError
from flowvox.planner.formats import moved, per_weight, read_on_cpu, resident, stored_bytes
from flowvox.planner.memory import artifact_bytes, memory
from flowvox.quantizers.encode import stored_bytes as written_bytes
from flowvox.recipe import GGUF_FORMATS, Recipe, Rule, load_recipe, shipped_recipes
from flowvox.tensors import checkpoint_tensors, component_of


def for_bundles() -> list[str]:
    """Shipped recipes without formats that only GGUF files have."""
    recipes = [load_recipe(name) for name in shipped_recipes()]
    gguf = set(GGUF_FORMATS)
    return [r.name for r in recipes if not gguf & {rule.format for rule in r.rules}]


@pytest.mark.parametrize("name", for_bundles())
def test_every_shipped_recipe_has_the_sizes_that_the_quantizers_write(
    config: ModelConfig, name: str
) -> None:
    recipe = load_recipe(name)
    for tensor, shape in checkpoint_tensors(config, encoder=True).items():
        rule = recipe.rule(str(component_of(tensor)), tensor)
        assert stored_bytes(tensor, shape, rule) == written_bytes(tensor, shape, rule), tensor
    assert memory(config, recipe, "cpu").total > 0


def test_the_embedded_bundle_has_the_predicted_size() -> None:
    bundle = Bundle.unchecked(embedded_bundle())
    recipe = Recipe.from_dict(bundle.manifest["recipe"], "embedded")
    components = bundle.manifest["components"]
    real = sum(entry["bytes"] for name, entry in components.items() if name != "codec_encoder")
    assert artifact_bytes(bundle.config, recipe) == pytest.approx(real, rel=0.03)


def test_what_a_weight_costs() -> None:
    four = Rule("*", "int4", block=32)
    assert per_weight(four) == 4.5 / 8
    assert per_weight(Rule("*", "int4", block=32, symmetric=False)) == 4.625 / 8
    assert resident(four, "cpu") == 7 / 8  # packed a second time, two and a half bits wider
    assert resident(four, "cuda") == 4.5 / 8
    assert read_on_cpu(four) == 6 / 8  # the widened scales stay, but are not read
    assert read_on_cpu(Rule("*", "w8a8")) == 1
    half = Rule("*", "float16")
    assert (moved(half, "cpu", 1), moved(half, "cuda", 1)) == (4, 2)  # the CPU widens it


def test_cuda_expands_eight_bit_blocks_for_the_rows_of_the_flow_head() -> None:
    eight, four = Rule("*", "int8", block=32), Rule("*", "int4", block=32)
    assert moved(eight, "cuda", 1) == per_weight(eight)
    assert moved(eight, "cuda", 6) == per_weight(eight) + 4
    assert moved(four, "cuda", 6) == per_weight(four)
    assert moved(eight, "cpu", 6) == per_weight(eight)


def test_a_format_without_figures() -> None:
    with pytest.raises(FlowvoxError, match="no figures for the format q9"):
        per_weight(Rule("*", "q9"))
