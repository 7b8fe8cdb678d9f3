"""Recipes are data: first match wins, and a mistake is named with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvox.config import ModelConfig
from flowvox.errors import RecipeError
from flowvox.recipe import Recipe, load_recipe, shipped_recipes
from flowvox.tensors import checkpoint_tensors, component_of
from tests.conftest import published_params

GOOD = {"version": 1, "name": "mine", "rules": [{"component": "*", "format": "float16"}]}


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_cover_every_tensor_and_round_trip(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert Recipe.from_dict(recipe.to_dict(), "again") == recipe
    for tensor in checkpoint_tensors(ModelConfig.from_dict(published_params()), encoder=True):
        recipe.rule(component_of(tensor), tensor)


def test_the_first_matching_rule_wins() -> None:
    rules = [{"component": "backbone", "tensor": "*.w2.*", "format": "int8"}, *GOOD["rules"]]
    recipe = Recipe.from_dict({**GOOD, "rules": rules}, "here")
    assert recipe.rule("backbone", "layers.0.feed_forward.w2.weight").format == "int8"
    assert recipe.rule("backbone", "layers.0.feed_forward.w1.weight").format == "float16"


def test_zero_points_are_off_unless_asked_for() -> None:
    rules = [
        {"component": "flow", "format": "int4", "symmetric": False},
        {"component": "backbone", "format": "int4"},
        *GOOD["rules"],
    ]
    recipe = Recipe.from_dict({**GOOD, "rules": rules}, "here")
    assert [rule.symmetric for rule in recipe.rules] == [False, True, True]
    assert Recipe.from_dict(recipe.to_dict(), "again") == recipe


def test_recipes_know_whether_they_want_calibration() -> None:
    for method, wanted in (("gptq", True), ("imatrix", True), ("search", False)):
        rule = {"component": "backbone", "format": "int4", "method": method}
        recipe = Recipe.from_dict({**GOOD, "rules": [rule, *GOOD["rules"]]}, "here")
        assert recipe.calibrated == recipe.rules[0].calibrated == wanted
        assert not recipe.rules[1].calibrated


def test_a_tensor_without_a_rule_is_an_error() -> None:
    recipe = Recipe.from_dict({**GOOD, "rules": [{"component": "flow", "format": "int4"}]}, "here")
    with pytest.raises(RecipeError, match="no rule for norm"):
        recipe.rule("backbone", "norm.weight")


def test_norms_and_heads_are_never_in_four_bits() -> None:
    recipe = load_recipe("int4")
    for component, tensor in (
        ("backbone", "layers.3.attention_norm.weight"),
        ("flow", "acoustic_transformer.semantic_codebook_output.weight"),
        ("flow", "acoustic_transformer.time_projection.weight"),
        ("codec_decoder", "audio_tokenizer.decoder_blocks.1.layers.0.attention.wq.weight"),
    ):
        assert recipe.rule(component, tensor).format.startswith("float")


@pytest.mark.parametrize(
    ("change", "says"),
    [({"version": 2}, "version"), ({"name": "a b/c"}, "name"), ({"rules": []}, "rules"),
     ({"colour": 1}, "unknown key 'colour'"), ({"rules": [3]}, "rule 1"),
     ({"rules": [{"component": "*"}]}, "needs component and format"),
     ({"rules": [{"component": "*", "format": "int5"}]}, "int5.*one of float32"),
     ({"rules": [{"component": "head", "format": "int4"}]}, "no component matches"),
     ({"rules": [{"component": "*", "format": "int4", "block": 33}]}, "block"),
     ({"rules": [{"component": "*", "format": "int4", "bits": 4}]}, "unknown key 'bits'"),
     ({"rules": [{"component": "*", "format": "int4", "block": 32.0}]}, "block"),
     ({"rules": [{"component": "*", "format": "nf4"}]}, "block is 32.*64, 128, 256"),
     ({"rules": [{"component": "*", "format": "int4", "method": "gptq"}]}, "table is looked up"),
     ({"rules": [{"component": "flow", "format": "w8a8", "method": "hqq"}]}, "round, search"),
     ({"rules": [{"component": "flow", "format": "int4", "symmetric": 0}]}, "symmetric.*True, False"),
     ({"rules": [{"component": "flow", "format": "float16", "symmetric": False}]}, "no meaning"),
     ({"rules": [{"component": "*", "format": "int4", "symmetric": False}]}, "table is looked up"),
     ({"rules": [{"component": "flow", "format": "float16", "block": 32}]}, "block has no meaning"),
     ({"rules": [{"component": "flow", "format": "nf4", "block": 64, "method": "search"}]}, "method"),
     ({"rules": [{"component": "flow", "format": "w8a8", "block": 32}]}, "block has no meaning"),
     ({"rules": [{"component": "*", "format": "w8a8"}]}, "token_embeddings the format w8a8"),
     ({"rules": [{"component": ["flow"], "format": "int4"}]}, "patterns"),
     ({"rules": [{"component": "*", "format": "nf4", "block": 64}]}, "token_embeddings the format nf4"),
     ({"rules": [{"component": "token_embeddings", "format": "int8", "block": 32}]}, "no meaning"),
     ({"rules": [{"component": "token_embeddings", "format": "int8-dynamic"}]}, "table")],
)  # fmt: skip
def test_mistakes_are_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        Recipe.from_dict({**GOOD, **change}, "here")


def test_files_and_names(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "version: 1\nname: mine\nrules: [{component: '*', format: int8}]\n"
    )
    assert load_recipe(str(tmp_path / "mine.yaml")).name == "mine"
    with pytest.raises(RecipeError, match="fp16"):
        load_recipe("int3")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(RecipeError, match="YAML"):
        load_recipe(str(tmp_path / "bad.yaml"))


def test_only_the_codec_encoder_can_be_omitted() -> None:
    omitted = {"component": "codec_encoder", "format": "omit"}
    recipe = Recipe.from_dict({**GOOD, "rules": [omitted, *GOOD["rules"]]}, "here")
    assert recipe.omits("codec_encoder")
    assert not recipe.omits("codec_decoder")
    for wrong in ({"component": "flow"}, {"component": "*"}, {"tensor": "*norm*"}):
        with pytest.raises(RecipeError, match="only codec_encoder"):
            Recipe.from_dict({**GOOD, "rules": [{**omitted, **wrong}, *GOOD["rules"]]}, "here")
