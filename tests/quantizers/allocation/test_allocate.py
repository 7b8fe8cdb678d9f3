"""The story from damages to a plan, with damages that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvox.quantizers.allocation.allocate import Plan, allocate
from flowvox.quantizers.allocation.damage import Damage, added
from flowvox.quantizers.allocation.explain import describe, rows, summary, to_dict
from flowvox.quantizers.allocation.ledger import Ledger
from flowvox.quantizers.allocation.problem import Problem, Request
from flowvox.recipe import Rule
from flowvox.reference.checkpoint import Checkpoint

ERROR = {"float32": 0.0, "float16": 0.0, "int8": 1e-4, "w8a8": 2e-4, "int4": 1e-2, "int2": 1.0}


def limit(micro: Checkpoint, bits: float) -> Request:
    """A budget of so many bits a weight."""
    problem = Problem(micro, Request(1e9))
    weights = sum(sizes[0] / 2 for sizes in problem.sizes)
    return Request(problem.fixed_size + weights * bits / 8)


def parts(problem: Problem, g: int, i: int) -> Damage:
    rule = problem.rules[g][i]
    error = ERROR[rule.format] * (32 / rule.block) ** -0.2 * (1 + g % 5)
    return Damage(error, 2 * error)


def plan(problem: Problem, factor: dict[int, float] | None = None) -> Plan:
    def whole(choice: tuple[int, ...]) -> Damage:
        scaled = []
        for g, i in enumerate(choice):
            one, times = parts(problem, g, i), (factor or {}).get(g, 1.0)
            scaled.append(Damage(times * one.kld, times * one.latent))
        return added(scaled)

    return allocate(problem, lambda g, i: parts(problem, g, i), whole)


def test_a_tighter_budget_costs_quality(micro: Checkpoint) -> None:
    found = [plan(Problem(micro, limit(micro, bits))) for bits in (7, 9, 12)]
    assert found[0].cost.loss > found[1].cost.loss > found[2].cost.loss
    for one in found:
        assert one.size <= (one.problem.request.max_size or 0)
        assert one.gap < 1e-3


def test_where_parts_add_up_nothing_is_corrected(micro: Checkpoint) -> None:
    one = plan(Problem(micro, limit(micro, 7)))
    assert len(one.rounds) == 1
    predicted, measured = one.rounds[0]
    assert measured == pytest.approx(predicted)


def test_a_group_that_is_worse_in_company_gets_more_bits(micro: Checkpoint) -> None:
    problem = Problem(micro, limit(micro, 7))
    naive = plan(problem)
    victim = max(range(len(naive.choice)), key=lambda g: naive.losses[g][naive.choice[g]])
    wiser = plan(problem, {victim: 5.0})
    assert problem.sizes[victim][wiser.choice[victim]] > problem.sizes[victim][naive.choice[victim]]
    assert min(measured for _, measured in wiser.rounds) < wiser.rounds[0][1]


def test_a_plan_is_told(micro: Checkpoint) -> None:
    one = plan(Problem(micro, limit(micro, 7)))
    table = rows(one)
    assert sum(row.share for row in table) == pytest.approx(1)
    assert sum(row.bytes for row in table) == one.cost.size
    assert any("loss" in row.less for row in table)
    assert "MB" in summary(one)[0]
    assert "at most" in describe(one)
    assert to_dict(one)["bytes"] == one.size


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    rules = [Rule("flow", "int4"), Rule("backbone", "int8")]
    ledger = Ledger(tmp_path, ["weights"])
    assert ledger.damage(rules, lambda: Damage(0.5)).kld == 0.5
    ledger.path.open("a").write('{"key": "cut sho')
    again = Ledger(tmp_path, ["weights"])
    assert again.damage(rules[::-1], lambda: pytest.fail("measured again")) == Damage(0.5)
    assert not again.knows(rules[:1])
    assert again.damage(rules[:1], lambda: Damage(0.25)).kld == 0.25
    assert again.knows(rules[:1])
    assert Ledger(tmp_path, ["others"]).damage(rules, lambda: Damage(0.1)).kld == 0.1
