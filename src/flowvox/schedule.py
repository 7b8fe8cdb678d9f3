"""Inputs of the graphs that are computed, not learned: the flow schedule and the rotary tables."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flowvox.config import BackboneConfig

Solver = Literal["euler", "midpoint"]


def flow_schedule(solver: Solver, steps: int, guidance: float) -> NDArray[np.float32]:
    """Rows (time, guidance, advance, weight, previous_weight) for `steps` equal steps from 0 to 1.

    Euler has one row a step, midpoint two; see flowvox.graphs for what a row does.
    """
    grid = np.linspace(0.0, 1.0, steps + 1)
    rows = []
    for start, end in itertools.pairwise(grid):
        width = end - start
        if solver == "euler":
            rows.append((start, guidance, 0.0, width, 0.0))
        else:
            rows.append((start, guidance, 0.0, 0.0, 0.0))
            rows.append((start + width / 2, guidance, width / 2, width, 0.0))
    return np.array(rows, dtype=np.float32)


def rope_tables(
    config: BackboneConfig, positions: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin of p * theta^(-2i/head_dim): two arrays [positions, head_dim / 2]."""
    exponents = np.arange(0, config.head_dim, 2) / config.head_dim
    angles = np.arange(positions)[:, None] * config.rope_theta**-exponents
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
