"""How the pitch moves between frames, and that a block of it depends on two frames alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flowvox.reference.training.locked.glides import (
    MAX_CYCLES,
    MIN_CYCLES,
    PAIRS,
    moves,
    track,
)

SAMPLES = 400
COUNTS = st.lists(st.integers(MIN_CYCLES, MAX_CYCLES), min_size=1, max_size=12)


def turns(phase: np.ndarray) -> np.ndarray:
    """Phases on the unit circle."""
    return np.exp(2j * np.pi * phase)


@given(COUNTS)
def test_the_phase_runs_on_with_the_pitch(counts: list[int]) -> None:
    """From sample to sample it goes on by the pitch there, across blocks and frames, too."""
    phase, rate = (x.flatten() for x in track(np.array(counts), SAMPLES))
    step = (rate[1:] + rate[:-1]) / 2 / SAMPLES
    np.testing.assert_allclose(turns(phase[1:]), turns(phase[:-1] + step), atol=0.02)


@given(COUNTS)
def test_a_frame_has_its_own_pitch_in_its_middle(counts: list[int]) -> None:
    _, rate = track(np.array(counts), SAMPLES)
    middle = rate[:, SAMPLES // 2 - 1 : SAMPLES // 2 + 1].mean(axis=1)
    np.testing.assert_allclose(middle, counts, rtol=0.01)


@given(st.sampled_from(PAIRS), COUNTS, COUNTS)
def test_a_block_depends_on_its_two_frames_alone(
    pair: tuple[int, int], before: list[int], after: list[int]
) -> None:
    def block(counts: list[int], frame: int) -> np.ndarray:
        phase, _ = track(np.array(counts), SAMPLES)
        middle = frame * SAMPLES + SAMPLES // 2
        return turns(phase.flatten()[middle : middle + SAMPLES])

    alone, among = block([*pair], 0), block([*before, *pair, *after], len(before))
    np.testing.assert_allclose(alone, among, atol=1e-6)


def test_pitch_moves_by_20_percent_at_most() -> None:
    assert moves(10, 12)
    assert not moves(10, 13)
    assert not moves(10, 10)
    phase, rate = track(np.array([10, 20]), SAMPLES)
    assert set(rate.flatten()) == {10.0, 20.0}
    np.testing.assert_allclose(turns(phase[1, 0] - 10 / SAMPLES), 1, atol=0.1)  # at the boundary
