"""Weights as a graph under a rule computes with them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.quantizers.calibration.cache import Calibration, calibrate
from flowvox.quantizers.encode import encode_matrix
from flowvox.quantizers.matrix import quantize_rows
from flowvox.quantizers.statistics import InputStatistics
from flowvox.quantizers.weights import Bnb4Weights, DynamicWeights
from flowvox.recipe import TABLES, Rule
from flowvox.source import ModelSource


class Encoder:
    """Of one checkpoint, which is calibrated when the first rule asks for it."""

    def __init__(self, source: ModelSource, source_hash: str) -> None:
        self._source, self._hash = source, source_hash

    def dequantized(self, name: str, rule: Rule) -> Tensor:
        """The whole tensor, float32."""
        return torch.from_numpy(self._encoded(name, self._source.read(name), rule))

    def error(self, name: str, rule: Rule, rows: NDArray[np.int64]) -> Tensor:
        """What the rule changes in rows: float32 [rows, columns]; no others of a table are read."""
        if rule.component in TABLES:
            parts = [self._source.read_rows(name, row, row + 1) for row in rows.tolist()]
            weights = np.concatenate(parts)
        else:
            weights = self._source.read(name)[rows]
        return torch.from_numpy(self._encoded(name, weights, rule) - weights)

    def _encoded(self, name: str, weights: NDArray[np.float32], rule: Rule) -> NDArray[np.float32]:
        if rule.component in TABLES and rule.format == "int8":
            levels, scales = quantize_rows(weights)
            return levels * scales[:, None]
        statistics: InputStatistics | None = self._calibration(name) if rule.calibrated else None
        encoded = encode_matrix(weights, rule, statistics)
        assert not isinstance(encoded, Bnb4Weights | DynamicWeights)
        values: NDArray[np.float32] = encoded.dequantized()
        return values

    @cached_property
    def _calibration(self) -> Calibration:
        return calibrate(self._source, self._hash)
