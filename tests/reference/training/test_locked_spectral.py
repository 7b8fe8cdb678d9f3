"""The loss of the decoder's last stage."""

from __future__ import annotations

import torch

from flowvox.reference.training.locked.spectral import SpectralLoss


def test_level_counts_and_phase_does_not() -> None:
    heard = torch.randn(1, 9600, generator=torch.Generator().manual_seed(0)) / 10
    turned, louder = (sum(SpectralLoss()(x, heard).values()) for x in (-heard, 2 * heard))
    assert turned < 0.05 * louder


def test_silence_has_a_gradient() -> None:
    silence = torch.zeros(1, 9600, requires_grad=True)
    terms = SpectralLoss()(silence, torch.ones(1, 9600) / 10)
    torch.stack([*terms.values()]).sum().backward()
    assert silence.grad is not None
    assert torch.isfinite(silence.grad).all()
    assert silence.grad.abs().sum() > 0
