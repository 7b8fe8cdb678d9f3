"""How the pitch moves from frame to frame: from the middle of each to the middle of the next.

A frame's pitch, a whole number n of periods per frame, is reached in its middle. Between two
middles, over a *block*, the pitch moves evenly, and the block holds the mean of both numbers. The
phase in the middle of a frame of n is n / 2 whatever was before, so that a block depends on its two
frames alone. Where the pitch moves too far (an octave, another sound), it steps at the frame
boundary instead.

Times are counted in blocks from the middle of the first frame: the frame boundary is at 1/2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_CYCLES, MAX_CYCLES = 5, 24  # pitch in periods per codec frame: 62.5 to 300 Hz
FARTHEST = 5  # a pitch moves by at most 1 / FARTHEST of the lower one: 20 %, three semitones

Times = NDArray[np.float64]
Cycles = NDArray[np.integer] | int


def moves(before: Cycles, after: Cycles) -> NDArray[np.bool_]:
    """Whether the pitch moves evenly between frames of so many periods; else it steps or stays."""
    distance = np.abs(np.subtract(after, before))
    return (distance > 0) & (distance <= np.minimum(before, after) // FARTHEST)


PAIRS = [
    (a, b)
    for a in range(MIN_CYCLES, MAX_CYCLES + 1)
    for b in range(MIN_CYCLES, MAX_CYCLES + 1)
    if moves(a, b)
]


def moving(before: Cycles, after: Cycles, time: Times) -> tuple[Times, Times]:
    """(phase in periods, periods per frame) at `time` of a block in which the pitch moves."""
    slope = np.subtract(after, before)
    phase = np.multiply(before, 0.5 + time) + slope * time**2 / 2
    return phase, before + slope * time


def staying(cycles: Cycles, time: Times) -> tuple[Times, Times]:
    """The same around a frame's middle (time 0) at its own pitch."""
    return np.multiply(cycles, 0.5 + time), cycles + 0 * time


def track(cycles: NDArray[np.integer], samples: int) -> tuple[Times, Times]:
    """Cycles per frame [K] -> (phase in periods, periods per frame), [K, samples] at sample centres.

    `samples` is even.
    """
    frames = len(cycles)
    time = np.arange(samples // 2)[None] + 0.5
    first, second = time / samples, 0.5 + time / samples  # halves of a block
    before, after = cycles[:-1, None], cycles[1:, None]
    even = moves(before, after)
    own = (staying(cycles[:, None], first), staying(cycles[:, None], first - 0.5))
    phase = np.empty((frames, 2, samples // 2))
    rate = np.empty_like(phase)
    for out, late, early, a, b in zip(
        (phase, rate), own[0], own[1], moving(before, after, first), moving(before, after, second),
        strict=True,
    ):  # fmt: skip
        out[:, 1], out[:, 0] = late, early
        out[:-1, 1] = np.where(even, a, late[:-1])
        out[1:, 0] = np.where(even, b, early[1:])
    return phase.reshape(frames, samples), rate.reshape(frames, samples)
