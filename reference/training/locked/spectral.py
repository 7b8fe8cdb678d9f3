"""The decoder's loss: compressed spectra at four resolutions, with and without phase."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from flowvox.reference.training.spectral import FLOOR, SIZES, mel_filters


class SpectralLoss(torch.nn.Module):
    """Mean over resolutions of L1 distances between spectra S of two signals.

    `phase`: |S|^0.5 e^(i arg S), which a phase-locked target makes learnable; `level`: |S|^0.5;
    `mel`: log mel magnitudes, what the recognizer and the ear mostly hear.
    """

    def __init__(self) -> None:
        super().__init__()
        for size in SIZES:
            self.register_buffer(f"window_{size}", torch.hann_window(size))
            self.register_buffer(f"mel_{size}", mel_filters(size))

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """output, target: [B, samples]."""
        sums = {"phase": torch.zeros(()), "level": torch.zeros(()), "mel": torch.zeros(())}
        for size in SIZES:
            a, b = (self._spectrum(x, size) for x in (output, target))
            magnitude_a, magnitude_b = a.square().sum(-1).sqrt(), b.square().sum(-1).sqrt()
            root_a, root_b = magnitude_a.sqrt(), magnitude_b.sqrt()
            phase = (a / root_a[..., None] - b / root_b[..., None]).abs().mean()
            mel = getattr(self, f"mel_{size}")
            log_a, log_b = (
                torch.log(m.transpose(1, 2) @ mel + FLOOR * 10) for m in (magnitude_a, magnitude_b)
            )
            sums["phase"] = sums["phase"] + phase / len(SIZES)
            sums["level"] = sums["level"] + F.l1_loss(root_a, root_b) / len(SIZES)
            sums["mel"] = sums["mel"] + F.l1_loss(log_a, log_b) / len(SIZES)
        return sums

    def _spectrum(self, x: Tensor, size: int) -> Tensor:
        window = getattr(self, f"window_{size}")
        spectrum = torch.stft(x, size, size // 4, window=window, return_complex=True)
        return torch.view_as_real(spectrum) + FLOOR * 0.5**0.5
