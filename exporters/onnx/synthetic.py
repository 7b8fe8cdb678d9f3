"""Graphs of a shape without a checkpoint: made-up weights in a storage format, only to be timed.

Speed does not depend on the values as long as they are ordinary numbers, so a chunk of noise is
repeated and no weight is ever quantized: gigabytes are written in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.exporters.onnx.builder import GraphBuilder
from flowvox.graphs import graph_specs
from flowvox.quantizers.encode import BITS
from flowvox.quantizers.weights import BlockWeights, ChannelWeights, FloatWeights, MatrixWeights
from flowvox.recipe import Recipe
from flowvox.tensors import Shape, checkpoint_tensors

CHUNK = 1 << 20


class SyntheticWeights:
    """Stands for the weights of a component: the shapes of `config`, the formats of `recipe`."""

    def __init__(self, config: ModelConfig, recipe: Recipe, component: str) -> None:
        self._shapes: Mapping[str, Shape] = checkpoint_tensors(config, encoder=False)
        self._recipe, self._component = recipe, component
        rng = np.random.default_rng(0)
        self._bytes = rng.integers(0, 256, CHUNK, dtype=np.uint8)
        self._normal = rng.standard_normal(CHUNK, dtype=np.float32)

    def matrix(self, name: str) -> MatrixWeights:
        """Noise in the format that the recipe says."""
        rows, columns = self._shapes[name]
        rule = self._recipe.rule(self._component, name)
        if rule.format in BITS:
            bits, count = BITS[rule.format], -(-columns // rule.block)
            packed = np.resize(self._bytes, (rows, count, rule.block * bits // 8))
            scale = np.float16(columns**-0.5 / (1 << (bits - 2)))
            return BlockWeights(bits, rule.block, columns, packed, np.full((rows, count), scale))
        if rule.format == "w8a8":
            scales = np.full(rows, columns**-0.5 / 32, dtype=np.float32)
            levels = np.resize(self._bytes.view(np.int8) // 2, (rows, columns))
            return ChannelWeights(levels, scales)
        return self._floats((rows, columns), name)

    def floats(self, name: str) -> FloatWeights:
        """Norms of about one."""
        return FloatWeights(np.ones(self._shapes[name], dtype=np.float32))

    def convolution(self, prefix: str) -> FloatWeights:
        """Backbone and flow head have none."""
        raise AssertionError(f"{prefix}: no convolution")

    def composed(self, outer: Sequence[str], scale: str, inner: str) -> FloatWeights:
        """All `outer` matrices behind `inner`, as one."""
        rows = sum(self._shapes[name][0] for name in outer)
        return self._floats((rows, self._shapes[inner][1]), inner)

    def raw(self, name: str) -> FloatWeights:
        """A tensor that enters a computed constant."""
        return self.floats(name)

    def _floats(self, shape: Shape, name: str) -> FloatWeights:
        values: NDArray[np.float32] = np.resize(self._normal, shape)
        values *= np.float32(shape[-1] ** -0.5)
        half = self._recipe.rule(self._component, name).format == "float16"
        return FloatWeights.stored(values, half=half)


def write_synthetic(
    folder: Path,
    component: str,
    config: ModelConfig,
    recipe: Recipe,
    build: Callable[[GraphBuilder, ModelConfig], None],
) -> Path:
    """Write `<component>.onnx` and its data into `folder`; returns the former."""
    spec = graph_specs(config, encoder=False)[component]
    with GraphBuilder(spec, folder, SyntheticWeights(config, recipe, component)) as graph:
        build(graph, config)
        graph.save()
    return folder / f"{component}.onnx"
