"""One candidate per group, least loss in all, under budgets of bytes and of time.

A multiple-choice knapsack with two constraints, solved exactly as an integer program by HiGHS
(`scipy.optimize.milp`), which also gives a lower bound: the gap between both is the proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

SECONDS = 60  # at most for one program; what is found by then is used, with its gap
TOLERANCE = 1e-6  # of HiGHS: for constraints, which are scaled to 1, and for the gap
SCALE = 1e3  # the solution is brought to this size before its gap is closed


class Cost(NamedTuple):
    """What a candidate of a group costs: bytes stored, seconds per frame, loss (any unit, >= 0)."""

    size: int
    seconds: float
    loss: float


class Budget(NamedTuple):
    """What all groups together may cost; infinite where nothing is asked."""

    size: float = math.inf
    seconds: float = math.inf


@dataclass(frozen=True)
class Solution:
    """choice: the candidate of each group; loss: their sum; bound: no choice has less than this."""

    choice: tuple[int, ...]
    loss: float
    bound: float

    @property
    def gap(self) -> float:
        """(loss - bound) / loss: 0 where the choice is proven to be the best."""
        return max(0.0, (self.loss - self.bound) / self.loss) if self.loss > 0 else 0.0


def solve(groups: Sequence[Sequence[Cost]], budget: Budget) -> Solution | None:
    """The choice of least loss within the budget; None if there is none."""
    return _program(groups, budget, lambda cost: cost.loss)


def least_size(groups: Sequence[Sequence[Cost]], seconds: float = math.inf) -> float | None:
    """Fewest bytes that take at most so many seconds; None if that time is impossible."""
    found = _program(groups, Budget(seconds=seconds), lambda cost: float(cost.size))
    return None if found is None else total(groups, found.choice).size


def least_seconds(groups: Sequence[Sequence[Cost]], size: float = math.inf) -> float | None:
    """The shortest time with at most so many bytes; None if that size is impossible."""
    found = _program(groups, Budget(size=size), lambda cost: cost.seconds)
    return None if found is None else total(groups, found.choice).seconds


def total(groups: Sequence[Sequence[Cost]], choice: Sequence[int]) -> Cost:
    """The sum of the chosen costs."""
    chosen = [group[i] for group, i in zip(groups, choice, strict=True)]
    return Cost(
        sum(cost.size for cost in chosen),
        math.fsum(cost.seconds for cost in chosen),
        math.fsum(cost.loss for cost in chosen),
    )


def _program(
    groups: Sequence[Sequence[Cost]], budget: Budget, objective: Callable[[Cost], float]
) -> Solution | None:
    """The choice of least objective within the budget.

    Only what a candidate costs above the cheapest of its group enters the program, and constraints are
    scaled to 1: numbers of one magnitude are what the tolerances of a solver are made for.
    """
    possible: list[list[int]] = [list(range(len(group))) for group in groups]
    rows = []
    for value, limit in ((_size, budget.size), (_seconds, budget.seconds)):
        least = [min(map(value, group)) for group in groups]
        left = limit - math.fsum(least)
        if left < 0:
            return None
        if math.isfinite(left):
            above = [
                [value(c) - low for c in group] for group, low in zip(groups, least, strict=True)
            ]
            possible = [[i for i in some if above[g][i] <= left] for g, some in enumerate(possible)]
            rows.append([[x / left if left else 0.0 for x in group] for group in above])
    if not all(possible):
        return None
    floor = [min(objective(groups[g][i]) for i in some) for g, some in enumerate(possible)]
    worth = [[objective(c) - low for c in group] for group, low in zip(groups, floor, strict=True)]

    def run(
        some: list[list[int]], unit: float, limit: float
    ) -> tuple[tuple[int, ...], float] | None:
        return _highs(some, [[x / unit for x in group] for group in worth], rows, limit)

    widest = max(worth[g][i] for g, some in enumerate(possible) for i in some) or 1.0
    found = run(possible, widest, 1.0)
    if found is None:
        return None
    first = math.fsum(worth[g][i] for g, i in enumerate(found[0]))
    if 0 < first < widest:
        # Again in units of the solution: the solver's absolute tolerance is one of it then.
        better = [[i for i in some if worth[g][i] <= first] for g, some in enumerate(possible)]
        found, widest = run(better, first / SCALE, 1.0) or found, first / SCALE
    choice, bound = found
    if not _fits(groups, choice, budget):  # by less than the tolerance of a constraint
        tighter = run(possible, widest, 1 - 4 * TOLERANCE)
        if tighter is None:
            return None
        choice = tighter[0]
    reached = math.fsum(objective(groups[g][i]) for g, i in enumerate(choice))
    return Solution(choice, reached, min(reached, math.fsum(floor) + bound * widest))


def _highs(
    possible: list[list[int]],
    worth: list[list[float]],
    rows: list[list[list[float]]],
    limit: float,
) -> tuple[tuple[int, ...], float] | None:
    """One candidate of each group, of least worth, every row at most `limit`; and a lower bound."""
    places = [(g, i) for g, some in enumerate(possible) for i in some]
    one = np.zeros((len(possible), len(places)))
    for column, (g, _) in enumerate(places):
        one[g, column] = 1
    constraints = [LinearConstraint(one, 1, 1)]
    constraints += [
        LinearConstraint([[row[g][i] for g, i in places]], -np.inf, limit) for row in rows
    ]
    result = milp(
        [worth[g][i] for g, i in places],
        integrality=np.ones(len(places)),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0, "time_limit": float(SECONDS)},
    )
    if result.x is None:
        return None
    best: dict[int, tuple[float, int]] = {}
    for x, (g, i) in zip(result.x, places, strict=True):
        best[g] = max(best.get(g, (-1.0, 0)), (float(x), i))
    return tuple(best[g][1] for g in range(len(possible))), float(result.mip_dual_bound)


def _size(cost: Cost) -> float:
    return float(cost.size)


def _seconds(cost: Cost) -> float:
    return cost.seconds


def _fits(groups: Sequence[Sequence[Cost]], choice: Sequence[int], budget: Budget) -> bool:
    cost = total(groups, choice)
    return cost.size <= budget.size and cost.seconds <= budget.seconds
