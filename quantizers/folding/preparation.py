"""What happens to weights before they are quantized, and what is known of their inputs then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flowvox.config import ModelConfig
from flowvox.quantizers.blocks import Floats
from flowvox.quantizers.folding.awq import Taker, awq_scales
from flowvox.quantizers.folding.joints import Joint, joints
from flowvox.quantizers.folding.smoothquant import smooth_scales
from flowvox.quantizers.statistics import InputStatistics
from flowvox.recipe import Recipe, Rule
from flowvox.tensors import WeightSource, component_of

Statistics = Callable[[str], InputStatistics]
Rounded = Callable[[Floats, Rule], Floats]


class Preparation:
    """Factors by tensor: of its rows (or of a vector), and of its columns."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._rows: dict[str, Floats] = {}
        self._columns: dict[str, Floats] = {}
        self._last: tuple[InputStatistics, Floats, InputStatistics] | None = None

    def fold(self, joint: Joint, scales: Floats) -> None:
        """Multiply the columns of a joint's takers by its scales [columns / sharing]."""
        columns = joint.spread(scales)
        self._columns |= dict.fromkeys(joint.takers, columns)
        self._rows[joint.giver] = np.float32(1) / scales

    def touches(self, name: str) -> bool:
        """Whether a tensor is not what it is in the checkpoint."""
        return name in self._rows or name in self._columns

    def weights(self, name: str, values: Floats) -> Floats:
        """A tensor with its factors."""
        if name in self._rows:
            factor = self._rows[name]
            values = values * (factor if values.ndim == 1 else factor[:, None])
        if name in self._columns:
            values = values * self._columns[name]
        return values

    def columns(self, name: str) -> Floats | None:
        """What the columns of a matrix are multiplied with, None where nothing is."""
        return self._columns.get(name)

    def statistics(self, name: str) -> InputStatistics:
        """Of the inputs as they are with the factors; one object for matrices that share them."""
        found = self._statistics(name)
        if name not in self._columns:
            return found
        columns = self._columns[name]
        if self._last is None or self._last[0] is not found or self._last[1] is not columns:
            self._last = (found, columns, found.folded(columns))
        return self._last[2]


def prepare(
    source: WeightSource,
    config: ModelConfig,
    recipe: Recipe,
    statistics: Statistics,
    rounded: Rounded,
) -> Preparation:
    """Find the scales of every joint that a rule asks to fold, with one joint's matrices in memory.

    rounded: what is left of weights after plain rounding by a rule.
    """

    def by(rule: Rule) -> Callable[[Floats], Floats]:
        return lambda weights: rounded(weights, rule)

    preparation = Preparation(statistics)
    for joint in joints(config):
        takers, kinds = [], set()
        for name in joint.takers:
            rule = recipe.rule(str(component_of(name)), name)
            if rule.folding:
                kinds.add(rule.folding)
                weights = source.read(name)
                takers.append(Taker(weights, statistics(name), by(rule)))
        if kinds:
            find = smooth_scales if kinds == {"smooth"} else awq_scales
            scales = find(takers, joint)
            if not np.all(scales == 1):
                preparation.fold(joint, scales)
    return preparation
