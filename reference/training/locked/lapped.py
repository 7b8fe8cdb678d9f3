"""The lapped transform that the decoder's last stage works in: cosine-modulated channels.

Every 10 ms a window of 50 ms is told by 120 coefficients: one a channel of 50 Hz up to 4 kHz, one
for four channels above. Gains may differ from channel to channel and from step to step: the windows
overlap so much that what they fold cancels out (the MDCT's, of 20 ms, are too short for that:
pulses of a low voice came out rough).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from flowvox.reference.training.locked.features import SUBFRAMES
from flowvox.reference.training.locked.synth import FRAME, RATE

PATCH = FRAME // SUBFRAMES
LAPS = 5  # patches of a window
WINDOW = LAPS * PATCH
# Of the window's Fourier series: of all with two terms, what comes nearest to perfect reconstruction
# (50 dB; by Nelder and Mead's method).
SERIES = (0.83231505, 0.24236513)
EXACT, GROUPS = 80, 40  # coefficients that are a channel each; coefficients that share those above
COEFFICIENTS = EXACT + GROUPS


def window() -> Tensor:
    """[WINDOW], of norm 1: 1 + 2 sum of (-1)^k s_k cos(2 pi k t / WINDOW)."""
    t = (torch.arange(WINDOW, dtype=torch.float64) + 0.5) * (2 * torch.pi / WINDOW)
    made = 1 + 2 * sum((-1) ** k * s * torch.cos(k * t) for k, s in enumerate(SERIES, start=1))
    return made / made.norm()


@cache
def transform() -> tuple[Tensor, Tensor, Tensor]:
    """(analysis, synthesis [WINDOW, C], centre frequency [C]).

    Channel k is the window times sqrt 2 cos(pi / PATCH (k + 1/2) (t - middle) - (-1)^k pi / 4): a
    pseudo-QMF bank (Rothweiler 1983; Vaidyanathan 1993, chapter 8). Above the exact ones, neighbours
    share a coefficient that has their energy.
    """
    k = torch.arange(PATCH, dtype=torch.float64)
    t = torch.arange(WINDOW, dtype=torch.float64)[:, None] - (WINDOW - 1) / 2
    angle = torch.pi / PATCH * (k + 0.5) * t - torch.pi / 4 * (1 - 2 * (k % 2))
    channels = 2**0.5 * window()[:, None] * angle.cos()
    signs = torch.from_numpy(np.random.default_rng(5).choice([-1.0, 1.0], PATCH))
    analysis, synthesis, centres = [channels[:, :EXACT]], [channels[:, :EXACT]], [k[:EXACT]]
    for group in torch.arange(EXACT, PATCH).tensor_split(GROUPS):
        shared = (channels[:, group] @ signs[group])[:, None]
        analysis.append(shared)
        synthesis.append(shared / len(group))
        centres.append(k[group].mean()[None])
    frequency = (torch.cat(centres) + 0.5) * (RATE / (2 * PATCH))
    return torch.cat(analysis, 1).float(), torch.cat(synthesis, 1).float(), frequency.float()
