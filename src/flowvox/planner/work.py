"""The matrix products of one frame, from params.json and a recipe alone.

Rows of the flow head: three tokens in two guidance branches, 6, but 2 in the last layer, of which
only position 0 is read (exporters/onnx/flow.py). What does not change between evaluations is
multiplied once a frame: in the first layer query, key and value of all times and of the condition.
The codec runs once per chunk of frames.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from flowvox.config import CodecConfig, ModelConfig
from flowvox.planner.formats import applied
from flowvox.recipe import TABLES, Recipe, Rule
from flowvox.tensors import (
    CODEC,
    FLOW,
    WEIGHT_NORM_DIRECTION,
    Shape,
    checkpoint_tensors,
    component_of,
)

CODEC_FRAMES = 12  # frames a chunk in the long run (runtime.plan.chunk_sizes)
GUIDED = 2
TOKENS = 3
# Nodes of the exported graphs; those that only change types or names are folded away.
BACKBONE_NODES, FLOW_NODES = 13, 27  # a layer; a layer and evaluation
CODEC_NODES, CODEC_LAYER_NODES = 130, 25  # a call; a layer and call
PREPARED_NODES = 26  # of the flow head, once a frame

_LAYER = re.compile(r"layers\.(\d+)\.")
_BLOCK = re.compile(r"decoder_blocks\.(\d+)\.")


@dataclass(frozen=True)
class Product:
    """`times` products a frame of `rows` rows with the matrix `tensor` of `weights` weights."""

    stage: str
    rule: Rule
    weights: int
    rows: float
    times: float
    tensor: str


def rules_by_tensor(config: ModelConfig, recipe: Recipe) -> Iterator[tuple[str, Shape, Rule]]:
    """Every tensor that a bundle without encoder holds, with the rule as it applies."""
    for name, shape in checkpoint_tensors(config, encoder=False).items():
        component = component_of(name)
        if component is not None:
            yield name, shape, applied(name, shape, recipe.rule(component, name))


def frame_products(config: ModelConfig, recipe: Recipe, steps: int) -> list[Product]:
    """All products of one frame with that many evaluations of the flow head."""
    products = []
    steps_of_block = _steps_of_block(config.codec)
    for name, shape, rule in rules_by_tensor(config, recipe):
        component = component_of(name)
        if len(shape) < 2 or component in TABLES or "quantizer." in name:
            continue
        stage, rows, times = "backbone", 1.0, 1.0
        if component == "flow":
            stage = "flow"
            rows, times = _flow_rows(name, config, steps)
        elif component == "codec_decoder":
            if math.prod(shape) == shape[0]:  # the gain of a weight-normed convolution
                continue
            stage = "codec"
            rows, times = (
                CODEC_FRAMES * _codec_steps(name, config, steps_of_block),
                1 / CODEC_FRAMES,
            )
        products.append(Product(stage, rule, math.prod(shape), rows, times, name))
    return products


def nodes(config: ModelConfig, steps: int) -> dict[str, float]:
    """Graph nodes a frame, by stage."""
    layers = sum(stage.n_layers for stage in config.codec.decoder_stages)
    return {
        "backbone": BACKBONE_NODES * config.backbone.n_layers,
        "flow": FLOW_NODES * config.flow.n_layers * steps + PREPARED_NODES,
        "codec": (CODEC_NODES + CODEC_LAYER_NODES * layers) / CODEC_FRAMES,
    }


def _flow_rows(name: str, config: ModelConfig, steps: int) -> tuple[float, float]:
    """(rows, times) of a tensor of the flow head."""
    inner = name.removeprefix(FLOW)
    layer = _LAYER.match(inner)
    if layer is None:
        return {
            "input_projection.weight": (1, steps),
            "acoustic_codebook_output.weight": (GUIDED, steps),
            "time_projection.weight": (steps, 1),
        }.get(inner, (1, 1))
    index = int(layer.group(1))
    if index == 0 and inner.endswith(("wq.weight", "wk.weight", "wv.weight")):
        return steps + 1, 1
    last = index == config.flow.n_layers - 1
    only_first = last and not inner.endswith(("wk.weight", "wv.weight"))
    return GUIDED * (1 if only_first else TOKENS), steps


def _steps_of_block(codec: CodecConfig) -> dict[int, int]:
    """Steps per frame at which each decoder block multiplies: a transposed convolution its inputs."""
    steps, found = 1, {}
    for stage in codec.decoder_stages:
        if stage.conv_block is not None:
            found[stage.conv_block] = steps
        steps *= stage.stride
        found[stage.transformer_block] = steps
    return found


def _codec_steps(name: str, config: ModelConfig, steps_of_block: dict[int, int]) -> int:
    block = _BLOCK.search(name.removeprefix(CODEC))
    assert block or name.endswith(WEIGHT_NORM_DIRECTION)
    return steps_of_block[int(block.group(1))] if block else config.codec.upsampling
