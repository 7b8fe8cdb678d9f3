"""One row per method: the layers quantized in the torch reference, over speech that it made itself.

Teacher-forced, as in `flowvox eval`: the same history and noise, so that what differs is the weights.
The texts are those of a suite, which calibration never saw.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch

from flowvox.eval.methods.method import Encoded, Method
from flowvox.eval.suite import Suite
from flowvox.quantizers.allocation.damage import Damage
from flowvox.quantizers.allocation.groups import Group, all_groups
from flowvox.quantizers.allocation.sensitivity import Change, Measurer
from flowvox.quantizers.calibration.cache import calibrate
from flowvox.quantizers.calibration.record import speak
from flowvox.quantizers.calibration.speech import Spoken
from flowvox.quantizers.calibration.texts import Line
from flowvox.quantizers.folding.preparation import Statistics
from flowvox.quantizers.folding.rotation import rotated, statistics_key
from flowvox.recipe import Recipe, Rule
from flowvox.reference.model import load_model
from flowvox.reference.streamed import load_part, streamed_model
from flowvox.source import ModelSource
from flowvox.tensors import FLOW

UTTERANCES, MAX_FRAMES = 24, 60
FLOAT = Rule("*", "float32")  # what a change says of itself: its inputs are given


@dataclass(frozen=True)
class Row:
    """bits: stored, a weight; error: of the outputs, ||X (W - Wq)^T|| / ||X W^T||, of all layers.

    errors: the same by group; damage: teacher-forced; seconds: to quantize.
    """

    name: str
    tool: str
    bits: float
    error: float
    damage: Damage
    seconds: float
    notes: str = ""
    errors: dict[str, float] = field(default_factory=dict)


class Bench:
    """A model, what it said, and what its matrices were multiplied with; `row` measures a method."""

    def __init__(self, source: ModelSource, suite: Suite) -> None:
        self._source, self.source_hash = source, source.source_hash()
        self._groups = [group for group in all_groups(source.config) if group.layer is not None]
        self._spoken = _said(source, suite)
        self._turned = cache(self._prepare)

    @property
    def frames(self) -> int:
        """That were compared."""
        return sum(len(one.codes) + 1 for one in self._spoken)

    def row(self, method: Method) -> Row:
        """Quantize all layers by it and look at the outputs."""
        source, statistics, measurer = self._turned(method.rotation)
        started = time.perf_counter()
        names = [name for group in self._groups for name in group.tensors]
        encoded = method.encode(names, source, statistics)
        seconds = time.perf_counter() - started
        damage = measurer.damage(list(_changes(self._groups, encoded)))
        bits = sum(e.bits * e.values.size for e in encoded.values())
        weights = sum(e.values.size for e in encoded.values())
        lost, had = np.zeros(len(self._groups)), np.zeros(len(self._groups))
        for g, group in enumerate(self._groups):
            for name in group.tensors:
                exact, hessian = source.read(name), statistics(name).hessian()
                lost[g] += _energy(encoded[name].values - exact, hessian)
                had[g] += _energy(exact, hessian)
        errors = {
            group.name: float(e) for group, e in zip(self._groups, np.sqrt(lost / had), strict=True)
        }
        error = float(np.sqrt(np.mean(lost / had)))
        return Row(
            method.name, method.tool, bits / weights, error, damage, seconds, method.notes, errors
        )

    def _prepare(self, rotation: str) -> tuple[ModelSource, Statistics, Measurer]:
        recipe = Recipe("turned", "", (), rotation=rotation)
        source = rotated(self._source, recipe)
        statistics = calibrate(source, statistics_key(self.source_hash, recipe))
        return source, statistics, Measurer(load_model(source), source, self._spoken)


def _said(source: ModelSource, suite: Suite) -> list[Spoken]:
    """The first of the suite's teacher-forced sentences as the unquantized model says them."""
    lines = [
        Line(one.sentence.text, one.voice, one.seed)
        for one in suite.utterances("teacher_forced", sorted(source.voices()))[:UTTERANCES]
    ]
    model = streamed_model(source)
    load_part(model.flow, FLOW, source)
    return speak(model, source, lines, MAX_FRAMES)


def _changes(groups: list[Group], encoded: Mapping[str, Encoded]) -> Iterator[Change]:
    for group in groups:
        here = {name: encoded[name] for name in group.tensors}
        weights = {name: torch.from_numpy(e.values) for name, e in here.items()}
        inputs = {name: e.inputs for name, e in here.items() if e.inputs is not None}
        yield Change(group, FLOAT, weights, inputs)


def _energy(matrix: np.ndarray, hessian: np.ndarray) -> float:
    """Mean of ||W x||^2 over the inputs x."""
    return float(np.einsum("ij,ij->", matrix @ hessian, matrix, dtype=np.float64))
