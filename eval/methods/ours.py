"""flowvox's own methods, through the recipe rules that users write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from flowvox.eval.methods.method import Encoded, Floats, Method, Rounding
from flowvox.quantizers.allocation.candidates import input_block, rounds_inputs
from flowvox.quantizers.allocation.sensitivity import rounded
from flowvox.quantizers.encode import encode_matrix, stored_bytes
from flowvox.quantizers.encode import rounded as plainly_rounded
from flowvox.quantizers.folding.preparation import Preparation, Statistics, prepare
from flowvox.quantizers.weights import Bnb4Weights, DynamicWeights
from flowvox.recipe import Recipe, Rule
from flowvox.source import ModelSource

FOUR = Rule("*", "int4")


def our_methods() -> list[Method]:
    """By format: the plain one first, then what each idea adds to it."""
    return [
        *(_method(f"int4/32 {name}", replace(FOUR, method=name)) for name in (
            "round", "search", "hqq", "imatrix", "awq", "gptq", "awq+gptq")),
        _method("int4/32 search, rotated", FOUR, rotation="residual+heads"),
        _method("int4/32 gptq, rotated", replace(FOUR, method="gptq"), rotation="residual+heads"),
        *(_method(f"int4/32 zp {name}", replace(FOUR, method=name, symmetric=False))
          for name in ("round", "search", "gptq")),
        *(_method(f"int4/{block} {name}", replace(FOUR, method=name, block=block))
          for block in (64, 128) for name in ("search", "gptq")),
        *(_method(f"int2/64 zp {name}", Rule("*", "int2", block=64, method=name, symmetric=False))
          for name in ("search", "gptq")),
        *(_method(f"int8/{block} {name}", Rule("*", "int8", block=block, method=name))
          for block, name in ((32, "round"), (32, "search"), (32, "gptq"), (128, "gptq"))),
        *(_method(f"w8a8 {name}", Rule("*", "w8a8", method=name))
          for name in ("round", "search", "smooth", "gptq")),
    ]  # fmt: skip


def _method(name: str, rule: Rule, rotation: str = "none") -> Method:
    return Method(name, "flowvox", partial(encode_all, rule), rotation)


def encode_all(
    rule: Rule, names: Sequence[str], source: ModelSource, statistics: Statistics
) -> Mapping[str, Encoded]:
    """Every matrix under one rule, scales folded as an export folds them."""
    recipe = Recipe("one", "", tuple(replace(rule, component=c) for c in ("backbone", "flow")))
    preparation = Preparation(statistics)
    if rule.folding:
        layers = Recipe("layers", "", (*recipe.rules, Rule("*", "float16")))
        preparation = prepare(source, source.config, layers, statistics, plainly_rounded)
    return {name: encode_one(rule, name, source.read(name), preparation) for name in names}


def encode_one(rule: Rule, name: str, weights: Floats, preparation: Preparation) -> Encoded:
    """A matrix, put back to where its neighbours are as they were before folding."""
    factors = preparation.weights(name, np.ones_like(weights))
    known = preparation.statistics(name) if rule.calibrated else None
    encoded = encode_matrix(weights * factors, rule, known)
    assert not isinstance(encoded, Bnb4Weights | DynamicWeights)
    values: Floats = encoded.dequantized() / factors
    bits = 8 * stored_bytes(name, weights.shape, rule) / weights.size
    return Encoded(values, bits, _inputs(rule, preparation.columns(name)))


def _inputs(rule: Rule, columns: Floats | None) -> Rounding | None:
    if not rounds_inputs(rule):
        return None
    block = input_block(rule)
    if columns is None:
        return partial(rounded, block=block)
    scales = torch.from_numpy(columns)

    def scaled(x: Tensor) -> Tensor:
        return rounded(x / scales, block) * scales

    return scaled
