"""Which settings of the flow head's sampling a sweep tries, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

from flowvox.presets import QUALITIES, preset
from flowvox.schedule import WHOLE, Grid, Sampling, Solver

FULL = preset("full")
COUNTS = range(2, 9)  # evaluations a frame
INTERVALS = ((0.2, 1.0), (0.0, 0.6), (0.2, 0.8))  # of guidance, besides the whole of the path


def solvers_and_grids() -> list[Sampling]:
    """Every solver on every grid that takes one of COUNTS evaluations; guidance as published."""
    return [
        setting
        for solver in get_args(Solver)
        for grid in get_args(Grid)
        for steps in range(1, COUNTS.stop)
        if (setting := replace(FULL, solver=solver, steps=steps, grid=grid)).evaluations in COUNTS
    ]


def intervals_of(settings: Iterable[Sampling]) -> list[Sampling]:
    """Each of `settings` with each of INTERVALS."""
    return [
        replace(setting, guidance_interval=interval)
        for setting in settings
        for interval in INTERVALS
    ]


def presets() -> list[Sampling]:
    """Those of `--quality`."""
    return [preset(quality) for quality in QUALITIES]


def controls() -> list[Sampling]:
    """What a reader wants to see whatever comes out: Euler with each of COUNTS, and the presets."""
    return [*(replace(FULL, steps=count) for count in COUNTS), *presets()]


def name(setting: Sampling) -> str:
    """For instance "adams-bashforth 4, sway, guidance 0.2 to 0.8"."""
    words = [f"{setting.solver} {setting.steps}", setting.grid]
    low, high = setting.guidance_interval
    if (low, high) != WHOLE:
        words.append(f"guidance {low:g} to {high:g}")
    return ", ".join(words)
