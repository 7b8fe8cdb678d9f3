"""Where the damages come from: measured where the model fits, estimated from gradients where not.

Both end in a ledger, so that what was computed once is not computed again, and an interrupted run goes
on. The sequences are the model's own speech of calibration texts, others than calibration itself uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from flowvox.quantizers.allocation.allocate import Choice
from flowvox.quantizers.allocation.candidates import input_block, rounds_inputs
from flowvox.quantizers.allocation.damage import Damage, added
from flowvox.quantizers.allocation.encoder import Encoder
from flowvox.quantizers.allocation.groups import Group
from flowvox.quantizers.allocation.ledger import Ledger
from flowvox.quantizers.allocation.problem import Problem
from flowvox.quantizers.allocation.second_order import Looked, Probe, cache_damage, damage, sweep
from flowvox.quantizers.allocation.sensitivity import Change, Measurer
from flowvox.quantizers.calibration import cache
from flowvox.quantizers.calibration.record import speak
from flowvox.quantizers.calibration.speech import Spoken
from flowvox.quantizers.calibration.texts import script
from flowvox.recipe import Recipe, Rule
from flowvox.reference.model import load_model
from flowvox.reference.streamed import load_part, streamed_model
from flowvox.source import ModelSource, Report
from flowvox.tensors import FLOW

Kind = Literal["measured", "second-order"]
SPEECH: dict[Kind, tuple[int, int]] = {  # utterances, frames at most
    "measured": (16, 48),
    "second-order": (4, 12),  # of a large model every frame reads all weights
}
EXACT = ("float32", "float16")  # what changes nothing that counts
KEPT = 128  # matrices: whole plans differ from each other in a few
MEASURABLE = 400_000_000  # weights: two copies in float32, and a pass takes seconds


def measurable(source: ModelSource) -> bool:
    """Whether candidates can be tried one by one."""
    return sum(math.prod(shape) for shape in source.shapes.values()) <= MEASURABLE


class Measured:
    """Damages of a problem's candidates, each by a pass of the reference."""

    def __init__(self, problem: Problem, source_hash: str, folder: Path) -> None:
        self._problem = problem
        self._dequantized = lru_cache(KEPT)(Encoder(problem.source, source_hash).dequantized)
        self._ledger = Ledger(folder, ["measured", source_hash, SPEECH["measured"]])

    def part(self, g: int, i: int) -> Damage:
        """Of one candidate of one group."""
        return self._damage([(self._problem.groups[g], self._problem.rules[g][i])])

    def whole(self, choice: Choice) -> Damage:
        """Of a candidate for every group."""
        problem = self._problem
        rules = [rules[i] for rules, i in zip(problem.rules, choice, strict=True)]
        return self._damage(list(zip(problem.groups, rules, strict=True)))

    def recipe(self, recipe: Recipe) -> Damage:
        """Of all groups as a recipe stores them."""
        groups = [group for group in self._problem.groups if group.tensors]
        return self._damage(
            [(g, _of_group(g, recipe.rule(g.component, g.tensors[0]))) for g in groups]
        )

    def _damage(self, chosen: Sequence[tuple[Group, Rule]]) -> Damage:
        touched = [(group, rule) for group, rule in chosen if rule.format not in EXACT]
        if not touched:
            return Damage()
        return self._ledger.damage(
            [rule for _, rule in touched],
            lambda: self._measurer.damage([self._change(group, rule) for group, rule in touched]),
        )

    def _change(self, group: Group, rule: Rule) -> Change:
        weights = {name: self._dequantized(name, rule) for name in group.tensors}
        return Change(group, rule, weights)

    @cached_property
    def _measurer(self) -> Measurer:
        source = self._problem.source
        return Measurer(load_model(source), source, trajectories(source, *SPEECH["measured"]))


class Anchored:
    """One candidate of every format measured; the others by the ratio of their estimates to its own.

    Those differ in their blocks and zero points only. What a group is read by, and how what it does
    wrong travels on, is the same for both, and is in the measurement.
    """

    def __init__(self, problem: Problem, measured: Measured, estimated: SecondOrder) -> None:
        self._problem, self._measured, self._estimated = problem, measured, estimated

    def part(self, g: int, i: int) -> Damage:
        """Of one candidate of one group."""
        anchor = self._anchor(g, self._problem.rules[g][i].format)
        found = self._measured.part(g, anchor)
        if i == anchor:
            return found
        ours, theirs = self._estimated.part(g, i), self._estimated.part(g, anchor)
        semantic = ours.kld / theirs.kld if theirs.kld else 1.0
        acoustic = ours.latent / theirs.latent if theirs.latent else 1.0
        return Damage(
            found.kld * semantic,
            found.latent * acoustic,
            min(1.0, found.fsq * acoustic**0.5),
            found.end_margin * semantic**0.5,
        )

    def _anchor(self, g: int, fmt: str) -> int:
        """The candidate of that format in blocks of 32, symmetric; the first where there is none."""
        rules = self._problem.rules[g]
        same = [i for i, rule in enumerate(rules) if rule.format == fmt]
        plain = [i for i in same if rules[i].symmetric and rules[i].block == 32]
        return (plain or same)[0]


class SecondOrder:
    """Damages of all candidates from one sweep of gradients."""

    def __init__(
        self,
        problem: Problem,
        source_hash: str,
        folder: Path,
        report: Report = lambda done, total: None,
        speech: tuple[int, int] = SPEECH["second-order"],
    ) -> None:
        self._problem, self._encoder = problem, Encoder(problem.source, source_hash)
        self._ledger = Ledger(folder, ["second-order", source_hash, speech])
        self._report, self._speech = report, speech

    def part(self, g: int, i: int) -> Damage:
        """Of one candidate of one group."""
        rule = self._problem.rules[g][i]
        if rule.format in EXACT:
            return Damage()
        return self._ledger.damage([rule], lambda: self._estimated[g, i])

    @cached_property
    def _estimated(self) -> dict[tuple[int, int], Damage]:
        problem, found = self._problem, dict[tuple[int, int], Damage]()
        cached: list[Damage] = []
        place = {name: g for g, group in enumerate(problem.groups) for name in group.tensors}

        def visit(rows: dict[str, Tensor], semantic: list[Probe], acoustic: list[Probe]) -> None:
            cached.append(cache_damage(semantic, acoustic))
            for g in sorted({place[name] for name in rows}):
                group = problem.groups[g]
                for i, rule in enumerate(problem.rules[g]):
                    if rule.format in EXACT or self._ledger.knows([rule]):
                        continue
                    looks = (
                        Looked(
                            self._encoder.error(name, rule, rows[name].numpy()),
                            len(rows[name]) if group.is_table else problem.source.shapes[name][0],
                            [probe[name] for probe in semantic if name in probe],
                            [probe[name] for probe in acoustic if name in probe],
                        )
                        for name in group.tensors
                    )
                    inputs = rounds_inputs(rule)
                    found[g, i] = damage(looks, input_block(rule), rounds_inputs=inputs)

        sweep(problem.source, trajectories(problem.source, *self._speech), visit, self._report)
        last = len(problem.groups) - 1
        return found | {(last, i): added(cached) for i in range(len(problem.rules[last]))}


def _of_group(group: Group, rule: Rule) -> Rule:
    return replace(rule, component=group.component, tensor=group.pattern)


def trajectories(source: ModelSource, utterances: int, max_frames: int) -> list[Spoken]:
    """What the model says of calibration texts, after those that calibration uses."""
    lines = script(source.voices(), cache.UTTERANCES + utterances)[cache.UTTERANCES :]
    model = streamed_model(source)
    load_part(model.flow, FLOW, source)
    with torch.inference_mode():
        return speak(model, source, lines, max_frames)
