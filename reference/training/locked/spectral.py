"""The decoder's loss: spectra at four resolutions, without phase."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from flowvox.reference.training.spectral import FLOOR, SIZES, mel_filters


class SpectralLoss(torch.nn.Module):
    """Mean over resolutions of L1 distances between spectra S of two signals.

    `level`: |S|^0.5; `mel`: log mel magnitudes, what the recognizer and the ear mostly hear. Phase is
    left to the computed weights: where it cannot be foretold, regressing it only makes sounds fainter.
    """

    def __init__(self) -> None:
        super().__init__()
        for size in SIZES:
            self.register_buffer(f"window_{size}", torch.hann_window(size))
            self.register_buffer(f"mel_{size}", mel_filters(size))

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """output, target: [B, samples]."""
        level, mel = torch.zeros(()), torch.zeros(())
        for size in SIZES:
            a, b = (self._magnitude(x, size) for x in (output, target))
            bands = getattr(self, f"mel_{size}")
            log_a, log_b = (torch.log(m.transpose(1, 2) @ bands + FLOOR * 10) for m in (a, b))
            level = level + F.l1_loss(a.sqrt(), b.sqrt()) / len(SIZES)
            mel = mel + F.l1_loss(log_a, log_b) / len(SIZES)
        return {"level": level, "mel": mel}

    def _magnitude(self, x: Tensor, size: int) -> Tensor:
        window = getattr(self, f"window_{size}")
        spectrum = torch.view_as_real(
            torch.stft(x, size, size // 4, window=window, return_complex=True)
        )
        shifted = spectrum + FLOOR * 0.5**0.5  # a root of 0 has no gradient
        return shifted.square().sum(-1).sqrt()
