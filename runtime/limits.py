"""Checks of a caller's options, and how long an utterance may get."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypedDict, Unpack

from flowvox.config import ModelConfig
from flowvox.errors import FlowvoxError
from flowvox.presets import Quality, preset
from flowvox.schedule import EVALUATIONS, GRIDS, Grid, Sampling, Solver

# Guards against runaways: a generous bound on how long a text can take to say. Speech runs at about
# 0.07 s a character.
SECONDS_PER_CHARACTER, SECONDS_SPARE = 0.25, 4.0
LONGEST_SECONDS = 3600.0
MOST_THREADS = 256


class SamplingOptions(TypedDict, total=False):
    """Changes of a `Sampling`; None and what is left out change nothing.

    quality: a preset to begin with, "fast", "balanced" or "full"; the others override it. steps: of
    the flow; solver: "euler", "adams-bashforth", "midpoint" or "heun"; grid: of the steps' times,
    "uniform", "tail", "sway", "late" or "cosine"; guidance; guidance_interval: times from 0 to 1
    between which it acts. See flowvox.schedule.
    """

    quality: Quality | None
    steps: int | None
    guidance: float | None
    solver: Solver | None
    grid: Grid | None
    guidance_interval: tuple[float, float] | None


def choose_sampling(default: Sampling, **options: Unpack[SamplingOptions]) -> Sampling:
    """`default` as the caller wants it. Raises FlowvoxError for an option out of range."""
    changes = {name: value for name, value in options.items() if value is not None}
    quality = changes.pop("quality", None)
    sampling = default if quality is None else preset(quality)  # type: ignore[arg-type]
    sampling = replace(sampling, **changes)  # type: ignore[arg-type]
    steps, guidance, interval = sampling.steps, sampling.guidance, sampling.guidance_interval
    if not 1 <= steps <= 1000:
        raise FlowvoxError(f"steps is {steps}; it should be from 1 to 1000 (7 is the default)")
    if not 0 <= guidance <= 100:
        raise FlowvoxError(f"guidance is {guidance}; it should be from 0 to 100 (1.2 is usual)")
    if sampling.solver not in EVALUATIONS:
        raise FlowvoxError(f"solver is {sampling.solver!r}; it should be {_either(EVALUATIONS)}")
    if sampling.grid not in GRIDS:
        raise FlowvoxError(f"grid is {sampling.grid!r}; it should be {_either(GRIDS)}")
    if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
        raise FlowvoxError(
            f"guidance_interval is {interval}; it should be two times, 0 <= first <= second <= 1"
        )
    return sampling


def _either(names: Iterable[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} or {last}"


def check_options(seed: int = 0, max_seconds: float | None = None) -> None:
    """Raise FlowvoxError for an option out of range; None stands for the default."""
    if not 0 <= seed < 1 << 64:
        raise FlowvoxError(f"seed is {seed}; it should be a whole number from 0 to 2^64 - 1")
    if max_seconds is not None and not 0 < max_seconds <= LONGEST_SECONDS:
        raise FlowvoxError(f"max-seconds is {max_seconds}; it should be above 0, at most 3600")


def check_threads(threads: int) -> int:
    """`threads`, if onnxruntime can start that many. Raises FlowvoxError."""
    if not 1 <= threads <= MOST_THREADS:
        raise FlowvoxError(f"threads is {threads}; it should be from 1 to {MOST_THREADS}")
    return threads


def text_frames(characters: int, config: ModelConfig) -> int:
    """Most frames for a text of this length."""
    return round((SECONDS_SPARE + SECONDS_PER_CHARACTER * characters) * config.frame_rate)


def second_frames(seconds: float, config: ModelConfig) -> int:
    """Frames in `seconds`, at least one."""
    return max(1, round(seconds * config.frame_rate))
