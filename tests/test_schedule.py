"""Computed inputs of the graphs: flow schedule and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.noise import frame_noise
from flowvox.schedule import flow_schedule


@given(st.integers(1, 40), st.floats(0, 5))
def test_schedules_cover_zero_to_one(steps: int, guidance: float) -> None:
    for solver, rows in (("euler", steps), ("midpoint", 2 * steps)):
        schedule = flow_schedule(solver, steps, guidance)
        assert schedule.shape == (rows, 5)
        assert schedule[:, 3].sum() == pytest.approx(1)
        assert (schedule[:, 0] < 1).all()


def test_schedules_integrate_a_known_velocity() -> None:
    """dx/dt = x from 1: Euler gives (1 + 1/n)^n, midpoint (1 + 1/n + 1/2n^2)^n."""

    def integrate(solver: str, steps: int) -> float:
        x, previous = 1.0, 0.0
        for _, _, advance, weight, previous_weight in flow_schedule(solver, steps, 1.0):
            velocity = x + advance * previous
            x, previous = x + weight * velocity + previous_weight * previous, velocity
        return x

    assert integrate("euler", 5) == pytest.approx(1.2**5)
    assert integrate("midpoint", 5) == pytest.approx(1.22**5)


def test_noise_is_the_philox_stream_and_a_longer_one_begins_alike() -> None:
    noise = frame_noise(3, 5, 36)
    expected = np.random.Generator(np.random.Philox(3)).standard_normal((5, 36), dtype=np.float32)
    np.testing.assert_array_equal(noise, expected)
    np.testing.assert_array_equal(noise, frame_noise(3, 50, 36)[:5])
    assert (frame_noise(4, 5, 36) != noise).all()
