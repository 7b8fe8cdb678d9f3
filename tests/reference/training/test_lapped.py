"""The lapped transform of the decoder's last stage."""

from __future__ import annotations

import torch

from flowvox.reference.training.locked.features import SUBFRAMES
from flowvox.reference.training.locked.lapped import (
    EXACT,
    LAPS,
    PATCH,
    WINDOW,
    transform,
    window,
)
from flowvox.reference.training.locked.synth import FRAME


def overlapped(windows: torch.Tensor) -> torch.Tensor:
    """Windows [N, WINDOW], a patch apart, added up."""
    total = torch.zeros((len(windows) + LAPS - 1) * PATCH)
    for place, row in enumerate(windows):
        total[place * PATCH :][:WINDOW] += row
    return total


def test_it_keeps_what_is_below_its_groups() -> None:
    analysis, synthesis, frequency = transform()
    time = torch.arange(20 * PATCH) / (2 * PATCH)
    tone = torch.sin(
        2 * torch.pi * 0.4 * EXACT * time
    )  # a channel is half a period of a patch wide
    made = overlapped(tone.unfold(0, WINDOW, PATCH) @ analysis @ synthesis.T)
    inner = slice(WINDOW, -WINDOW)
    error = (made - tone)[inner]
    assert error.square().mean() < 3e-5 * tone[inner].square().mean()  # 45 dB
    assert torch.all(frequency.diff() > 0)
    assert SUBFRAMES * PATCH == FRAME


def test_a_smooth_gain_is_a_filter() -> None:
    """Two pulses per window: a gain that falls over frequency leaves each a pulse, without an echo."""
    analysis, synthesis, frequency = transform()
    pulses = torch.zeros(20 * PATCH)
    pulses[WINDOW :: 2 * PATCH] = 1
    low = torch.exp(-frequency / 1000)
    made = overlapped((pulses.unfold(0, WINDOW, PATCH) @ analysis * low) @ synthesis.T)
    around = made[WINDOW + 2 * PATCH - PATCH // 4 :][: PATCH // 2].square().sum()
    period = made[WINDOW + PATCH :][: 2 * PATCH].square().sum()
    assert around > 0.9 * period


def test_the_window_is_of_norm_one_and_starts_softly() -> None:
    shape = window()
    torch.testing.assert_close(shape.norm(), torch.tensor(1.0, dtype=torch.float64))
    assert abs(shape[0]) < 0.15 * shape.max()
