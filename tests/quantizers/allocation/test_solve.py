"""The integer program against trying every choice."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.quantizers.allocation.solve import (
    Budget,
    Cost,
    least_seconds,
    least_size,
    solve,
    total,
)

COSTS = st.builds(
    Cost,
    st.integers(0, 2_000),
    st.integers(0, 400).map(lambda n: n / 1000),
    st.one_of(st.just(0.0), st.floats(1e-7, 1e3)),
)
GROUPS = st.lists(st.lists(COSTS, min_size=1, max_size=4), min_size=1, max_size=5)
BUDGETS = st.builds(
    Budget,
    st.one_of(st.just(math.inf), st.integers(0, 6_000)),
    st.one_of(st.just(math.inf), st.integers(0, 1500).map(lambda n: n / 1000 + 1e-9)),
)


def every_choice(groups: list[list[Cost]]) -> list[Cost]:
    return [total(groups, choice) for choice in itertools.product(*(range(len(g)) for g in groups))]


@given(GROUPS, BUDGETS)
@settings(max_examples=80)
def test_no_other_choice_is_better(groups: list[list[Cost]], budget: Budget) -> None:
    allowed = [
        cost.loss
        for cost in every_choice(groups)
        if cost.size <= budget.size and cost.seconds <= budget.seconds
    ]
    found = solve(groups, budget)
    if found is None:
        assert allowed == []
        return
    cost = total(groups, found.choice)
    assert cost.size <= budget.size
    assert cost.seconds <= budget.seconds
    assert found.loss == pytest.approx(min(allowed), rel=1e-6, abs=1e-9)
    assert found.bound <= min(allowed) * (1 + 1e-6) + 1e-9
    assert found.gap <= 1e-4 or found.loss < 1e-6


@given(GROUPS, st.integers(0, 6_000))
@settings(max_examples=40)
def test_the_limits_of_what_is_possible(groups: list[list[Cost]], size: int) -> None:
    costs = every_choice(groups)
    assert least_size(groups) == min(cost.size for cost in costs)
    small = [cost.seconds for cost in costs if cost.size <= size]
    least = least_seconds(groups, size)
    assert least == (pytest.approx(min(small)) if small else None)


def test_a_hundred_groups_are_solved_and_proven() -> None:
    """26 layers of four groups, ten candidates each: of the order of the 4B model."""
    groups = [
        [
            Cost(bits * (1000 + 37 * g), bits / 1000, (1 + g % 7) * 4.0**-bits)
            for bits in range(2, 9)
        ]
        for g in range(104)
    ]
    solution = solve(groups, Budget(1_300_000, 0.5))
    assert solution is not None
    assert solution.gap < 1e-3
    assert total(groups, solution.choice).size <= 1_300_000
