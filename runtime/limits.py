"""Checks of a caller's options, and how long an utterance may get."""

from __future__ import annotations

from flowvox.config import ModelConfig
from flowvox.errors import FlowvoxError

# Guards against runaways: a generous bound on how long a text can take to say. Speech runs at about
# 0.07 s a character.
SECONDS_PER_CHARACTER, SECONDS_SPARE = 0.25, 4.0
LONGEST_SECONDS = 3600.0
MOST_THREADS = 256


def check_options(
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    max_seconds: float | None = None,
    solver: str | None = None,
) -> None:
    """Raise FlowvoxError for an option out of range; None stands for the default."""
    if not 0 <= seed < 1 << 64:
        raise FlowvoxError(f"seed is {seed}; it should be a whole number from 0 to 2^64 - 1")
    if steps is not None and not 1 <= steps <= 1000:
        raise FlowvoxError(f"steps is {steps}; it should be from 1 to 1000 (7 is the default)")
    if guidance is not None and not 0 <= guidance <= 100:
        raise FlowvoxError(f"guidance is {guidance}; it should be from 0 to 100 (1.2 is usual)")
    if solver is not None and solver not in {"euler", "midpoint"}:
        raise FlowvoxError(f"solver is {solver!r}; it should be euler or midpoint")
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
