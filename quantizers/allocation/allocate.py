"""From damages to a plan: solve, measure the whole, and where the sum of parts misled, once more.

Damage of one layer among sound ones is not what it does among damaged ones. So after a solution every
layer is looked at in its place: what would the whole lose less if this one were left as it is? The
ratio to what its groups do alone corrects all their candidates, and the program is solved again. The
best plan that was measured stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flowvox.quantizers.allocation.candidates import UNIFORM, rule_of
from flowvox.quantizers.allocation.damage import Damage, Yardstick, added
from flowvox.quantizers.allocation.problem import Problem
from flowvox.quantizers.allocation.solve import Cost, Solution, solve, total
from flowvox.source import Report

ROUNDS = 3  # of correction, at most
LEAST, MOST = 0.2, 5.0  # of a correction: beyond, it is noise in a difference of small numbers
LEAST_SHARE = 0.002  # of the loss: less is not worth a measurement
Choice = tuple[int, ...]
Part = Callable[[int, int], Damage]  # (group, candidate) alone
Whole = Callable[[Choice], Damage]


@dataclass(frozen=True)
class Plan:
    """choice: a candidate for each group; losses: of all candidates, in units of the yardstick.

    predicted: the sum of the parts, before corrections; measured: the whole, None where it was not.
    """

    problem: Problem
    choice: Choice
    losses: list[list[float]]
    cost: Cost
    gap: float
    predicted: Damage
    measured: Damage | None
    yardstick: Yardstick
    rounds: list[tuple[float, float]] = field(default_factory=list)
    """(predicted, measured) loss of the first solution and of every correction."""

    @property
    def size(self) -> int:
        """Bytes of the bundle, as predicted."""
        return self.cost.size + self.problem.fixed_size

    @property
    def rtf(self) -> float | None:
        """Predicted on the device that was asked for."""
        if self.problem.request.device is None:
            return None
        return self.problem.rtf(self.cost.seconds)


def allocate(
    problem: Problem,
    part: Part,
    whole: Whole | None,
    report: Report = lambda done, total: None,
) -> Plan:
    """The plan of least loss within the request. Raises RecipeError where the request is impossible.

    part: damage of a candidate of a group, alone, in the order that tables and layers come; whole: of a
    choice for all groups; None where it cannot be had. `report` is told parts done.
    """
    budget = problem.budget
    parts = _parts(problem, part, report)
    yardstick = _yardstick(problem, parts)
    losses = [[yardstick.loss(damage) for damage in row] for row in parts]
    solution = solve(problem.costs(losses), budget)
    assert solution is not None, "the budget was possible"
    if whole is None:
        return _plan(problem, parts, losses, yardstick, solution, None)
    best: tuple[Damage, Solution] | None = None
    rounds = []
    for _ in range(1 + ROUNDS):
        measured = whole(solution.choice)
        rounds.append((solution.loss, yardstick.loss(measured)))
        if best is None or yardstick.loss(measured) < yardstick.loss(best[0]):
            best = measured, solution
        corrected = _corrected(problem, losses, solution.choice, measured, whole, yardstick)
        again = solve(problem.costs(corrected), budget)
        assert again is not None, "the budget was possible"
        if again.choice == solution.choice:
            break
        solution = again
    assert best is not None
    return _plan(problem, parts, losses, yardstick, best[1], best[0], rounds)


def _parts(problem: Problem, part: Part, report: Report) -> list[list[Damage]]:
    count, done = sum(map(len, problem.rules)), 0
    parts = []
    for g, rules in enumerate(problem.rules):
        row = []
        for i in range(len(rules)):
            row.append(part(g, i))
            done += 1
            report(done, count)
        parts.append(row)
    return parts


def _yardstick(problem: Problem, parts: list[list[Damage]]) -> Yardstick:
    uniform = [
        parts[g][problem.rules[g].index(rule_of(group, UNIFORM, problem.method))]
        for g, group in enumerate(problem.groups)
        if not group.is_table and not group.is_cache
    ]
    everywhere = added(uniform)
    return Yardstick(max(everywhere.kld, 1e-12), max(everywhere.latent, 1e-12))


def _corrected(
    problem: Problem,
    losses: list[list[float]],
    choice: Choice,
    measured: Damage,
    whole: Whole,
    yardstick: Yardstick,
) -> list[list[float]]:
    """Losses scaled by what each layer does in its place, against what its groups do alone."""
    together, rows = yardstick.loss(measured), [list(row) for row in losses]
    sections: dict[tuple[str, int | None], list[int]] = {}
    for g, group in enumerate(problem.groups):
        sections.setdefault((group.component, group.layer), []).append(g)
    for section in sections.values():
        best = {g: losses[g].index(min(losses[g])) for g in section}
        alone = sum(losses[g][choice[g]] - losses[g][best[g]] for g in section)
        if alone < LEAST_SHARE * together:
            continue
        left = tuple(best.get(g, i) for g, i in enumerate(choice))
        factor = (together - yardstick.loss(whole(left))) / alone
        for g in section:
            rows[g] = [min(MOST, max(LEAST, factor)) * loss for loss in losses[g]]
    return rows


def _plan(
    problem: Problem,
    parts: list[list[Damage]],
    losses: list[list[float]],
    yardstick: Yardstick,
    solution: Solution,
    measured: Damage | None,
    rounds: list[tuple[float, float]] | None = None,
) -> Plan:
    choice = solution.choice
    return Plan(
        problem=problem,
        choice=choice,
        losses=losses,
        cost=total(problem.costs(losses), choice),
        gap=solution.gap,
        predicted=added(row[i] for row, i in zip(parts, choice, strict=True)),
        measured=measured,
        yardstick=yardstick,
        rounds=rounds or [],
    )
