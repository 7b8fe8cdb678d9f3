"""What a graph builder asks for its weights: read from the checkpoint, encoded by the recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.bytes import quantize_bytes
from flowvox.quantizers.encode import encode_matrix
from flowvox.quantizers.folding.preparation import Preparation
from flowvox.quantizers.ggml.repack import repack, repacks
from flowvox.quantizers.weights import ByteWeights, FloatWeights, MatrixWeights
from flowvox.recipe import Recipe
from flowvox.source import ModelSource
from flowvox.tensors import (
    WEIGHT_NORM_DIRECTION,
    WEIGHT_NORM_GAIN,
    fold_weight_norm,
)


class GraphWeights(Protocol):
    """What a builder asks for; ComponentWeights says what each is."""

    def matrix(self, name: str) -> MatrixWeights: ...

    def floats(self, name: str) -> FloatWeights: ...

    def convolution(self, prefix: str) -> FloatWeights | ByteWeights: ...

    def composed(self, outer: Sequence[str], scale: str, inner: str) -> FloatWeights: ...

    def raw(self, name: str) -> FloatWeights: ...


class ComponentWeights:
    """The tensors of one component, one at a time; `on_read` is told the name of each."""

    def __init__(
        self,
        source: ModelSource,
        recipe: Recipe,
        component: str,
        on_read: Callable[[str], None] = lambda name: None,
        preparation: Preparation | None = None,
    ) -> None:
        self._source, self._recipe, self._component = source, recipe, component
        self._on_read, self._preparation = on_read, preparation

    def matrix(self, name: str) -> MatrixWeights:
        """A linear weight [out, in] in its recipe's format, as it is where it has that already."""
        rule = self._recipe.rule(self._component, name)
        form = self._source.block_format(name)
        touched = self._preparation is not None and self._preparation.touches(name)
        if form and repacks(form, rule) and not touched:
            self._on_read(name)
            return repack(form, self._source.packed(name))
        statistics = None
        if rule.calibrated and self._preparation is not None:
            statistics = self._preparation.statistics(name)
        return encode_matrix(self._read(name), rule, statistics)

    def floats(self, name: str) -> FloatWeights:
        """A vector (norm, scale): never quantized, float32 or float16."""
        rule = self._recipe.rule(self._component, name)
        return FloatWeights.stored(self._read(name), half=rule.format == "float16")

    def convolution(self, prefix: str) -> FloatWeights | ByteWeights:
        """The weight-normed convolution under `prefix` ("....decoder_blocks.0."), folded."""
        gain = self._read(prefix + WEIGHT_NORM_GAIN)
        direction = self._read(prefix + WEIGHT_NORM_DIRECTION)
        rule = self._recipe.rule(self._component, prefix + WEIGHT_NORM_DIRECTION)
        folded = fold_weight_norm(gain, direction)
        if rule.format == "w8":
            return quantize_bytes(folded)
        return FloatWeights.stored(folded, half=rule.format == "float16")

    def composed(self, outer: Sequence[str], scale: str, inner: str) -> FloatWeights:
        """The rows of all `outer` matrices times diag(`scale`) times `inner`, rounded once.

        Stays float whatever the rules say: in half where `inner` is.
        """
        scaled = self._read(scale).astype(np.float64)[:, None] * self._read(inner)
        rows = [(self._read(name) @ scaled).astype(np.float32) for name in outer]
        half = self._recipe.rule(self._component, inner).format == "float16"
        return FloatWeights.stored(np.concatenate(rows), half=half)

    def raw(self, name: str) -> FloatWeights:
        """A tensor that enters a computed constant, as float32."""
        return FloatWeights(self._read(name))

    def _read(self, name: str) -> NDArray[np.float32]:
        self._on_read(name)
        values = self._source.read(name)
        return values if self._preparation is None else self._preparation.weights(name, values)
