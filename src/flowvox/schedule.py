"""Inputs of the graphs that are computed, not learned: the flow schedule and the rotary tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flowvox.config import DEFAULT_GUIDANCE, DEFAULT_STEPS, BackboneConfig

Solver = Literal["euler", "adams-bashforth", "midpoint", "heun"]
Grid = Literal["uniform", "tail", "sway", "late", "cosine"]

# Evaluations of the velocity in a number of steps. Euler is of first order, the others of second.
EVALUATIONS: dict[Solver, Callable[[int], int]] = {
    "euler": lambda steps: steps,
    "adams-bashforth": lambda steps: steps,
    "midpoint": lambda steps: 2 * steps,
    "heun": lambda steps: 2 * steps - 1,
}
LAST_STEP = 1 / DEFAULT_STEPS  # of the published grid

# Number of steps n -> the n - 1 times between 0 and 1 where one step ends and the next begins. "tail"
# keeps the published last step, from 6/7 to 1, and divides the rest evenly. "sway" is F5-TTS's sway
# sampling with coefficient -1 (Chen et al. 2024, arXiv:2410.06885): short steps near the noise.
# "late" mirrors it: short steps near the data. "cosine" has short steps at both ends.
GRIDS: dict[Grid, Callable[[int], NDArray[np.float64]]] = {
    "uniform": lambda n: np.arange(1, n) / n,
    "tail": lambda n: np.linspace(0, 1 - LAST_STEP, n)[1:],
    "sway": lambda n: 1 - np.cos(np.pi / 2 * np.arange(1, n) / n),
    "late": lambda n: np.sin(np.pi / 2 * np.arange(1, n) / n),
    "cosine": lambda n: (1 - np.cos(np.pi * np.arange(1, n) / n)) / 2,
}
WHOLE = (0.0, 1.0)


@dataclass(frozen=True)
class Sampling:
    """How a frame's latents are integrated from noise (time 0) to data (time 1).

    The defaults are the published setting. guidance_interval: evaluations at times outside it have
    guidance 1, that is none (Kynkäänniemi et al. 2024, arXiv:2404.07724).
    """

    solver: Solver = "euler"
    steps: int = DEFAULT_STEPS
    guidance: float = DEFAULT_GUIDANCE
    grid: Grid = "uniform"
    guidance_interval: tuple[float, float] = WHOLE

    @property
    def evaluations(self) -> int:
        """How often the velocity is evaluated a frame: what the flow head's time is made of."""
        return EVALUATIONS[self.solver](self.steps)

    def schedule(self) -> NDArray[np.float32]:
        """The rows that make the flow graph do this."""
        return flow_schedule(*astuple(self))


def time_grid(grid: Grid, steps: int) -> list[float]:
    """The ends of `steps` steps: steps + 1 times from 0 to 1."""
    return [0.0, *GRIDS[grid](steps).tolist(), 1.0]


def guidance_at(time: float, guidance: float, interval: tuple[float, float]) -> float:
    """`guidance` inside the closed interval, else 1."""
    return guidance if interval[0] <= time <= interval[1] else 1.0


def flow_schedule(
    solver: Solver,
    steps: int,
    guidance: float,
    grid: Grid = "uniform",
    guidance_interval: tuple[float, float] = WHOLE,
) -> NDArray[np.float32]:
    """Rows (time, guidance, advance, weight, previous_weight), one an evaluation: [evaluations, 5].

    See flowvox.graphs for what a row does. Adams-Bashforth is the two-step method for steps of any
    widths, begun with a step of Euler (Hairer, Nørsett, Wanner, "Solving Ordinary Differential
    Equations I", III.5): it takes the previous evaluation for its second order, not another one.
    Heun's last step is Euler's, as in Karras et al. 2022 (arXiv:2206.00364), algorithm 1: the network
    never saw time 1, and what it says there spoils the frame.
    """
    rows: list[tuple[float, float, float, float, float]] = []
    before = None  # width of the step before
    for start, end in itertools.pairwise(time_grid(grid, steps)):
        width = end - start
        middle = start + width / 2
        g, g_middle, g_end = (
            guidance_at(time, guidance, guidance_interval) for time in (start, middle, end)
        )
        if solver == "midpoint":
            rows.append((start, g, 0.0, 0.0, 0.0))
            rows.append((middle, g_middle, width / 2, width, 0.0))
        elif solver == "heun" and end < 1:
            rows.append((start, g, 0.0, 0.0, 0.0))
            rows.append((end, g_end, width, width / 2, width / 2))
        elif solver == "adams-bashforth" and before is not None:
            back = width / before / 2
            rows.append((start, g, 0.0, width * (1 + back), -width * back))
        else:
            rows.append((start, g, 0.0, width, 0.0))
        before = width
    return np.array(rows, dtype=np.float32)


def rope_tables(
    config: BackboneConfig, positions: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin of p * theta^(-2i/head_dim): two arrays [positions, head_dim / 2]."""
    exponents = np.arange(0, config.head_dim, 2) / config.head_dim
    angles = np.arange(positions)[:, None] * config.rope_theta**-exponents
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
