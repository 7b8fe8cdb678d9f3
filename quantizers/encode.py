"""One matrix and one rule -> encoded weights. All quantization policy ends here."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import MissingPackageError, RecipeError
from flowvox.graphs import BACKBONE, FLOW
from flowvox.quantizers.bnb import quantize_bnb4
from flowvox.quantizers.bytes import quantize_bytes
from flowvox.quantizers.channels import quantize_channels
from flowvox.quantizers.matrix import quantize_blocks
from flowvox.quantizers.statistics import InputStatistics
from flowvox.quantizers.weights import (
    BlockWeights,
    ChannelWeights,
    DynamicWeights,
    FloatWeights,
    MatrixWeights,
)
from flowvox.recipe import BUNDLE_FORMATS, PLAIN_FORMATS, TABLES, Recipe, Rule
from flowvox.tensors import WEIGHT_NORM_DIRECTION, Shape, component_of

BITS = {"int8": 8, "int4": 4, "int2": 2}
BNB4 = ("nf4", "fp4")
PACKAGES = {**dict.fromkeys(BNB4, "bitsandbytes"), "int8-dynamic": "optimum.onnxruntime"}


def check_recipe(recipe: Recipe, shapes: dict[str, Shape]) -> None:
    """Before any work: every tensor has a rule that bundles know, every format its package.

    Raises RecipeError or MissingPackageError.
    """
    recipe.check_formats((*PLAIN_FORMATS, *BUNDLE_FORMATS), "a bundle", "a GGUF file with -f gguf")
    for name, shape in shapes.items():
        component = component_of(name)
        if component is not None:
            rule = recipe.rule(component, name)
            if rule.calibrated and stored_format(name, shape, rule) == rule.format:
                check_calibrated(recipe, component, rule)
            package = PACKAGES.get(rule.format)
            if package is not None and not _installed(package):
                raise MissingPackageError(
                    f"recipe {recipe.name} needs {package.split('.')[0]}, which is not installed; "
                    'pip install "flowvox[compare]"'
                )


def check_calibrated(recipe: Recipe, component: str, rule: Rule) -> None:
    """Raise RecipeError for a calibrated rule where calibration does not look."""
    if component not in {BACKBONE, FLOW}:
        raise RecipeError(
            f"recipe {recipe.name}: method {rule.method} needs calibration, which knows backbone and "
            f"flow; give {component} another method"
        )


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of its parent
        return False


def encode_matrix(
    weights: NDArray[np.float32], rule: Rule, statistics: InputStatistics | None = None
) -> MatrixWeights:
    """weights: float32 [out, in], rows are output channels; statistics: for calibrated rules."""
    if rule.format in BITS:
        return quantize_blocks(
            weights,
            BITS[rule.format],
            rule.block,
            rule.rounding,
            symmetric=rule.symmetric,
            statistics=statistics,
        )
    if rule.format == "w8a8":
        return quantize_channels(weights, rule.rounding, statistics)
    if rule.format == "w8":
        return quantize_bytes(weights)
    if rule.format in BNB4:
        return quantize_bnb4(weights, rule.format, rule.block)
    if rule.format == "int8-dynamic":
        return DynamicWeights(weights)
    return FloatWeights.stored(weights, half=rule.format == "float16")


def rounded(weights: NDArray[np.float32], rule: Rule) -> NDArray[np.float32]:
    """What is left of weights [out, in] after plain rounding to the rule's format."""
    encoded = encode_matrix(weights, replace(rule, method="round"))
    assert isinstance(encoded, BlockWeights | ChannelWeights)
    return encoded.dequantized()


def stored_format(name: str, shape: Shape, rule: Rule) -> str:
    """Only matrices are quantized, and convolutions to w8; vectors and centroids stay float."""
    matrix = len(shape) == 2 and "quantizer." not in name
    matrix |= rule.format == "w8" and name.endswith(WEIGHT_NORM_DIRECTION)
    any_shape = rule.format.startswith("float") or rule.format == "omit"
    return rule.format if matrix or any_shape else "float32"


def stored_bytes(name: str, shape: Shape, rule: Rule) -> int:
    """Bytes that the tensor takes under the rule, alignment aside."""
    size = math.prod(shape)
    fmt = stored_format(name, shape, rule)
    if fmt == "omit":
        return 0
    if fmt.startswith("float"):
        return size * (2 if fmt == "float16" else 4)
    if fmt in BNB4:
        return size // 2 + 4 * -(-size // rule.block)
    if fmt in {"w8", "w8a8", "int8-dynamic"} or (fmt == "int8" and component_of(name) in TABLES):
        return size + 4 * shape[0]
    count = -(-shape[1] // rule.block)
    zeros = 0 if rule.symmetric else -(-count * BITS[fmt] // 8)
    return shape[0] * (count * (rule.block * BITS[fmt] // 8 + 2) + zeros)
