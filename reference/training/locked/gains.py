"""Amplitudes from log amplitudes by units of a feed-forward, whose gate is silu(slope L + threshold).

Harmonic gains are a product over three layers, each multiplying by 1 + a sum of HINGES such gates;
noise gains are a sum of as many. Both are fitted to exp(L), fading to 0 below the envelopes' floors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

HINGES = 3
PRODUCTS = 3  # layers
LIFT = 32.0  # the excitation is this much louder in the stream, and the product smaller
HARMONIC_RANGE, NOISE_RANGE = (-3.1, 4.7), (-4.1, 1.0)


@dataclass(frozen=True)
class GainCurves:
    """harmonic [PRODUCTS, HINGES, 3], noise [HINGES, 3]: slope, threshold, weight of each gate."""

    harmonic: Tensor
    noise: Tensor

    @classmethod
    def fit(cls) -> GainCurves:
        """The curves, found by Adam in a few seconds; the lift comes in steps, each from the last."""
        low, high = HARMONIC_RANGE
        knots = torch.linspace(low, high - 1, PRODUCTS * HINGES).view(HINGES, PRODUCTS).T
        harmonic = _hinges(knots, torch.full_like(knots, 0.2))
        for doublings in range(int(math.log2(LIFT)) + 1):
            harmonic = _fitted(harmonic, HARMONIC_RANGE, 2.0**doublings, product=True)
        low, high = NOISE_RANGE
        knots = torch.linspace(low, high - 1, HINGES)[None]
        noise = _fitted(_hinges(knots, knots.exp() / 2), NOISE_RANGE, 1.0, product=False)
        return cls(harmonic, noise[0])


def amplitude(hinges: Tensor, log: Tensor, product: bool) -> Tensor:
    """The gain that the units give to log amplitudes [n]; hinges [layers, HINGES, 3]."""
    slope, threshold, weight = hinges.unsqueeze(-1).unbind(-2)
    sums = (weight * F.silu(slope * log + threshold)).sum(1)
    return (1 + sums).prod(0) if product else sums.sum(0)


def target(log: Tensor, floor: float) -> Tensor:
    """exp(L), fading to 0 around the floor."""
    return log.exp() * torch.sigmoid((log - floor) / 0.15)


def _hinges(knots: Tensor, weights: Tensor) -> Tensor:
    slopes = torch.full_like(knots, 2.0)
    return torch.stack([slopes, -slopes * knots, weights], -1)


@torch.enable_grad()
def _fitted(hinges: Tensor, span: tuple[float, float], lift: float, product: bool) -> Tensor:
    """Hinges for exp(L) / lift on the span and a little around it, from `hinges`."""
    low, high = span
    log = torch.linspace(low - 3, high + 1, 400)
    wanted = target(log, low) / lift
    inaudible = math.exp(low + 0.5) / 2 / lift
    hinges = hinges.clone().requires_grad_()
    optimizer, steps = torch.optim.Adam([hinges], 0.03), 2500
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / steps)
        error = (amplitude(hinges, log, product) - wanted) / (wanted + inaudible)
        optimizer.zero_grad()
        error.square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return hinges.detach()
