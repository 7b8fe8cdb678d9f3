"""Gradients of a few probes rank candidates as measuring them does, on models/tiny."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr

from flowvox.planner.devices import load_device
from flowvox.quantizers.allocation import estimate
from flowvox.quantizers.allocation.candidates import label
from flowvox.quantizers.allocation.damage import Damage
from flowvox.quantizers.allocation.estimate import Anchored, Measured, SecondOrder
from flowvox.quantizers.allocation.problem import Problem, Request
from flowvox.reference.checkpoint import Checkpoint

GROUPS = ("token embeddings", "code embeddings", "backbone 0 qkv", "backbone 2 down", "backbone 4 gate+up",
          "flow 0 down", "flow 1 qkv", "flow 2 out", "flow llm projection",
          "kv cache")  # fmt: skip
FORMATS = ("int8", "int8/32", "int4/32", "int2/64")


def test_estimated_damage_is_ranked_as_measured_damage(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = (2, 12)
    monkeypatch.setitem(estimate.SPEECH, "measured", speech)
    problem = Problem(Checkpoint.open(tiny), Request(1e9, None, load_device("raspberry-pi-5")))
    measured = Measured(problem, "tiny", tmp_path)
    estimated = SecondOrder(problem, "tiny", tmp_path, speech=speech)
    pairs = [
        (measured.part(g, i), estimated.part(g, i))
        for g, group in enumerate(problem.groups)
        for i, rule in enumerate(problem.rules[g])
        if group.name in GROUPS and label(rule) in FORMATS
    ]
    assert len(pairs) > 15
    for figure in ("kld", "latent"):
        both = [(getattr(a, figure), getattr(b, figure)) for a, b in pairs]
        both = [pair for pair in both if max(pair) > 0]
        assert spearmanr(both).statistic > 0.9
        inside = [0.3 < b / a < 3 for a, b in both]
        assert sum(inside) > 0.8 * len(inside)


class Known:
    """Damages by a formula: `factor` times what the candidate's number says."""

    def __init__(self, factor: float) -> None:
        self.factor, self.asked = factor, set[tuple[int, int]]()

    def part(self, g: int, i: int) -> Damage:
        self.asked.add((g, i))
        return Damage(self.factor * (i + 1), 2 * self.factor * (i + 1), 0.01, 0.1)


def test_one_candidate_of_a_format_is_measured_and_the_others_follow_it(tiny: Path) -> None:
    problem = Problem(Checkpoint.open(tiny), Request(1e9))
    measured, estimated = Known(5.0), Known(1.0)
    kinds: Any = (problem, measured, estimated)
    anchored = Anchored(*kinds)
    for g, rules in enumerate(problem.rules):
        for i in range(len(rules)):
            assert anchored.part(g, i).kld == pytest.approx(5.0 * (i + 1))
    names = {label(problem.rules[g][i]) for g, i in measured.asked}
    assert names == {"float32", "float16", "int8", "int8/32", "int4/32"}
