"""What the plan promises is what is stored, and what is missing is said before the work begins."""

from __future__ import annotations

import numpy as np
import pytest

from flowvox.errors import MissingPackageError, RecipeError
from flowvox.quantizers import encode
from flowvox.quantizers.encode import check_recipe, encode_matrix, stored_bytes, stored_format
from flowvox.quantizers.weights import BlockWeights, ByteWeights, ChannelWeights, FloatWeights
from flowvox.recipe import Recipe, Rule, load_recipe

SHAPES = {"layers.0.attention.wq.weight": (24, 72), "norm.weight": (72,)}


@pytest.mark.parametrize("fmt", ["float32", "float16", "int8", "int4", "int2", "w8", "w8a8"])
@pytest.mark.parametrize("shape", [(24, 72), (5, 32), (1, 1)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_planned_bytes_are_stored_bytes(fmt: str, shape: tuple[int, int], symmetric: bool) -> None:
    weights, block = np.ones(shape, dtype=np.float32), 64 if fmt == "int2" else 32
    rule = Rule("backbone", fmt, block=block, symmetric=symmetric)
    encoded = encode_matrix(weights, rule)
    if isinstance(encoded, BlockWeights):
        size = encoded.packed.nbytes + encoded.scales.nbytes
        size += 0 if symmetric else encoded.packed_zeros().nbytes
    elif isinstance(encoded, ChannelWeights | ByteWeights):
        size = encoded.levels.nbytes + encoded.scales.nbytes
    else:
        assert isinstance(encoded, FloatWeights)
        size = encoded.values.nbytes
    assert stored_bytes("layers.0.attention.wq.weight", shape, rule) == size


def test_only_matrices_are_quantized() -> None:
    int4, half = Rule("*", "int4"), Rule("*", "float16")
    convolution = "audio_tokenizer.output_proj.conv.parametrizations.weight.original1"
    assert stored_format(convolution, (12, 24, 7), int4) == "float32"
    assert stored_format(convolution, (12, 24, 7), Rule("*", "w8")) == "w8"
    assert stored_format(convolution, (12, 24, 7), half) == "float16"
    assert stored_format("norm.weight", (72,), int4) == "float32"


def test_what_is_omitted_takes_no_bytes() -> None:
    omit = Rule("codec_encoder", "omit")
    for shape in [(72,), (24, 72), (12, 24, 7)]:
        assert stored_format("norm.weight", shape, omit) == "omit"
        assert stored_bytes("norm.weight", shape, omit) == 0


@pytest.mark.parametrize("name", ["nf4", "fp4", "int8-dynamic"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_installed", lambda package: False)
    with pytest.raises(MissingPackageError, match=r"(bitsandbytes|optimum).*flowvox\[compare\]"):
        check_recipe(load_recipe(name), SHAPES)
    check_recipe(load_recipe("int4"), SHAPES)


def test_a_tensor_without_a_rule_is_found_before_the_work() -> None:
    rules = [{"component": "backbone", "tensor": "*wq*", "format": "int4"}]
    recipe = Recipe.from_dict({"version": 1, "name": "x", "rules": rules}, "here")
    with pytest.raises(RecipeError, match=r"norm\.weight"):
        check_recipe(recipe, SHAPES)


def test_calibration_knows_backbone_and_flow_only() -> None:
    rules = [{"component": "codec_decoder", "format": "int4", "method": "gptq"}]
    recipe = Recipe.from_dict({"version": 1, "name": "x", "rules": rules}, "here")
    matrix = "audio_tokenizer.decoder_blocks.1.layers.0.attention.wq.weight"
    with pytest.raises(RecipeError, match=r"backbone and flow.*codec_decoder"):
        check_recipe(recipe, {matrix: (24, 72)})
    check_recipe(recipe, {matrix.replace("wq", "q_norm"): (24,)})


def test_weights_too_large_for_half_are_refused() -> None:
    with pytest.raises(RecipeError, match="float16"):
        encode_matrix(np.full((2, 2), 1e6, dtype=np.float32), Rule("*", "float16"))
