"""Computed inputs of the graphs: flow schedule and noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.config import DEFAULT_GUIDANCE, DEFAULT_STEPS
from flowvox.embedded import embedded_bundle
from flowvox.manifest import read_manifest
from flowvox.noise import frame_noise
from flowvox.presets import QUALITIES, preset
from flowvox.schedule import EVALUATIONS, GRIDS, Grid, Sampling, Solver, flow_schedule, time_grid

times = st.floats(0, 1)
samplings = st.builds(
    Sampling,
    solver=st.sampled_from(get_args(Solver)),
    steps=st.integers(1, 40),
    guidance=st.floats(0, 5),
    grid=st.sampled_from(get_args(Grid)),
    guidance_interval=st.tuples(times, times).map(lambda pair: tuple(sorted(pair))),
)


def integrate(
    sampling: Sampling, velocity: Callable[[float, float], float], x: float = 1.0
) -> float:
    """What the flow graph does with the rows (flowvox.graphs), from x at time 0."""
    previous = 0.0
    for time, _, advance, weight, previous_weight in sampling.schedule().astype(np.float64):
        v = velocity(time, x + advance * previous)
        x, previous = x + weight * v + previous_weight * previous, v
    return x


@given(samplings)
def test_schedules_cover_zero_to_one(sampling: Sampling) -> None:
    schedule = sampling.schedule()
    assert schedule.shape == (sampling.evaluations, 5)
    assert schedule[:, 3:].sum() == pytest.approx(1)
    assert schedule[0, 0] == 0
    assert (np.diff(schedule[:, 0]) >= 0).all()
    assert schedule[-1, 0] < 1  # the network never saw time 1


@given(samplings)
def test_guidance_acts_inside_its_interval(sampling: Sampling) -> None:
    low, high = sampling.guidance_interval
    everywhere = replace(sampling, guidance_interval=(0.0, 1.0)).schedule()
    schedule = sampling.schedule()
    assert (everywhere[:, 1] == np.float32(sampling.guidance)).all()
    np.testing.assert_array_equal(np.delete(schedule, 1, 1), np.delete(everywhere, 1, 1))
    for time, guidance in schedule[:, :2]:
        if not (math.isclose(time, low, abs_tol=1e-6) or math.isclose(time, high, abs_tol=1e-6)):
            assert guidance == np.float32(sampling.guidance if low < time < high else 1)


@pytest.mark.parametrize("grid", GRIDS)
@given(steps=st.integers(1, 200))
def test_grids_rise_from_zero_to_one(grid: Grid, steps: int) -> None:
    edges = time_grid(grid, steps)
    assert (len(edges), edges[0], edges[-1]) == (steps + 1, 0.0, 1.0)
    assert (np.diff(edges) > 0).all()


def test_grids_have_their_short_steps_where_they_say() -> None:
    first, last = ({g: np.diff(time_grid(g, 8))[i] for g in GRIDS} for i in (0, -1))
    for steps in (1, 2, 4, 7):
        assert time_grid("tail", steps)[:-1] == pytest.approx(np.linspace(0, 6 / 7, steps))
    assert time_grid("tail", 7) == pytest.approx(time_grid("uniform", 7))
    assert first["sway"] < first["cosine"] < first["uniform"] < first["late"]
    assert last["late"] < last["cosine"] < last["uniform"] < last["sway"]
    assert time_grid("sway", 2)[1] == pytest.approx(1 - math.sqrt(0.5))  # F5-TTS, s = -1


def test_one_step_of_each_solver_by_hand() -> None:
    """dx/dt = x from 1: the factor of a step of width 1/n; Heun ends with a step of Euler."""
    factors = {"euler": 1.2**5, "midpoint": 1.22**5, "heun": 1.22**4 * 1.2}
    for solver, factor in factors.items():
        assert integrate(Sampling(solver, 5), lambda _, x: x) == pytest.approx(factor)
    # Euler's 1.5 first, then 1.5 + (3/2 1.5 - 1/2 1) / 2.
    assert integrate(Sampling("adams-bashforth", 2), lambda _, x: x) == pytest.approx(2.375)


@pytest.mark.parametrize("grid", [g for g in GRIDS if g != "tail"])  # its last step stays
@pytest.mark.parametrize(("solver", "order"), [*zip(EVALUATIONS, (1, 2, 2, 2), strict=True)])
def test_order_of_accuracy(solver: Solver, order: int, grid: Grid) -> None:
    """dx/dt = cos(3t) - 2x has a known solution: twice the steps, 2^order times less error."""

    def solution(t: float) -> float:
        return (2 * math.cos(3 * t) + 3 * math.sin(3 * t)) / 13

    exact = solution(1.0) + (1 - solution(0.0)) * math.exp(-2)
    errors = [
        abs(integrate(Sampling(solver, n, grid=grid), lambda t, x: math.cos(3 * t) - 2 * x) - exact)
        for n in (64, 128)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("solver", ["adams-bashforth", "midpoint", "heun"])
@given(grid=st.sampled_from(get_args(Grid)), steps=st.integers(2, 12))
def test_second_order_is_exact_for_a_line(solver: Solver, grid: Grid, steps: int) -> None:
    """dx/dt = t: one half, but for the step that is Euler's: Adams-Bashforth's first, Heun's last."""
    widths = np.diff(time_grid(grid, steps))
    euler = {"adams-bashforth": widths[0], "midpoint": 0.0, "heun": widths[-1]}[solver]
    found = integrate(Sampling(solver, steps, grid=grid), lambda t, _: t, 0.0)
    assert found == pytest.approx(0.5 - euler**2 / 2, abs=1e-6)


def test_full_is_the_published_setting_and_the_default() -> None:
    full = preset("full")
    assert full == Sampling() == Sampling("euler", DEFAULT_STEPS, DEFAULT_GUIDANCE)
    assert (DEFAULT_STEPS, DEFAULT_GUIDANCE) == (7, 1.2)
    row = read_manifest(embedded_bundle())["sampling"]
    assert row == {"solver": full.solver, "steps": full.steps, "guidance": full.guidance}
    np.testing.assert_array_equal(full.schedule(), flow_schedule("euler", 7, 1.2))


def test_presets_cost_what_their_names_promise() -> None:
    assert QUALITIES == ("fast", "balanced", "full")
    evaluations = [preset(quality).evaluations for quality in QUALITIES]
    assert evaluations == sorted(set(evaluations))
    assert preset("balanced").evaluations <= 4


def test_noise_is_the_philox_stream_and_a_longer_one_begins_alike() -> None:
    noise = frame_noise(3, 5, 36)
    expected = np.random.Generator(np.random.Philox(3)).standard_normal((5, 36), dtype=np.float32)
    np.testing.assert_array_equal(noise, expected)
    np.testing.assert_array_equal(noise, frame_noise(3, 50, 36)[:5])
    assert (frame_noise(4, 5, 36) != noise).all()
