"""The codec's regression loss: magnitudes and log mel magnitudes at four resolutions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIZES = (256, 512, 1024, 2048)
FLOOR = 1e-3
MEL_FLOOR = 5e-3
MEL_BANDS = 64


def mel_filters(size: int, rate: int = 24000) -> Tensor:
    """[bins, MEL_BANDS] triangular filters, 40 Hz to 12 kHz."""
    mel = 2595 * torch.log10(1 + torch.linspace(0, rate / 2, size // 2 + 1) / 700)
    edges = torch.linspace(60.0, float(mel[-1]), MEL_BANDS + 2)
    rise = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


class SpectralLoss(torch.nn.Module):
    """Mean over resolutions of L1 distances between spectra S of two signals.

    `level`: |S|^0.5; `log`: log |S|; `mel`: log mel magnitudes, what the ear mostly hears.
    """

    def __init__(self) -> None:
        super().__init__()
        for size in SIZES:
            self.register_buffer(f"window_{size}", torch.hann_window(size))
            self.register_buffer(f"mel_{size}", mel_filters(size))

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """output, target: [B, samples]."""
        zero = output.new_zeros(())
        sums = {"level": zero, "log": zero, "mel": zero}
        for size in SIZES:
            a, b = (self._magnitude(x, size) for x in (output, target))
            filters = getattr(self, f"mel_{size}")
            mel_a, mel_b = (torch.log(m.transpose(1, 2) @ filters + MEL_FLOOR) for m in (a, b))
            sums["level"] = sums["level"] + F.l1_loss(a.sqrt(), b.sqrt()) / len(SIZES)
            sums["log"] = sums["log"] + F.l1_loss((a + 1e-2).log(), (b + 1e-2).log()) / len(SIZES)
            sums["mel"] = sums["mel"] + F.l1_loss(mel_a, mel_b) / len(SIZES)
        return sums

    def _magnitude(self, x: Tensor, size: int) -> Tensor:
        window = getattr(self, f"window_{size}")
        spectrum = torch.stft(x, size, size // 4, window=window, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square() + FLOOR**2).sqrt()
