"""Critics for the decoder's adversarial stage: small networks that look at log mel spectra as images.

A decoder that is only regressed answers with the mean of what its codes allow: envelopes without
detail, which is most of what makes it sound like a vocoder. The waveform's phase needs no critic, it
is locked to the codes (`synth.py`); so spectra suffice, at two resolutions, at a tenth of the cost of
critics of samples or of complex spectra.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.reference.training.spectral import mel_filters

SIZES = (512, 2048)  # STFT windows: one resolves the pulses in time, one the harmonics
CHANNELS = 16
FLOOR = 1e-2
# Kernel and stride over (time, mel band).
LAYERS = (((3, 5), (1, 2)), ((4, 5), (2, 2)), ((4, 5), (2, 2)), ((3, 3), (1, 1)))

Opinion = tuple[Tensor, list[Tensor]]  # (a score for each patch, the features of each layer)


class SpectrumCritic(nn.Module):
    """Samples [B, n] -> a score for each patch of their log mel spectrum: 1 recorded, 0 decoded.

    The steps from band to band are an input of their own: they are what regression smooths away.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.window: Tensor
        self.mel: Tensor
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.register_buffer("mel", mel_filters(size), persistent=False)
        widths = [2, CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 4 * CHANNELS]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride, padding=(1, kernel[1] // 2))
            for a, b, (kernel, stride) in zip(widths, widths[1:], LAYERS, strict=False)
        )
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, samples: Tensor) -> Opinion:
        spectrum = torch.stft(
            samples, self.size, self.size // 4, window=self.window, return_complex=True
        )
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()
        levels = torch.log(magnitude.transpose(1, 2) @ self.mel + FLOOR)
        detail = F.pad(levels.diff(dim=2), (0, 1))
        x, features = torch.stack([levels / 3, 2 * detail], dim=1), []
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)
            features.append(x)
        return self.score(x), features


class Critics(nn.Module):
    """One critic for each of SIZES; the least-squares losses of both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.ModuleList(SpectrumCritic(size) for size in SIZES)

    def judge(self, output: Tensor, target: Tensor) -> Tensor:
        """What the critics minimize (Mao et al. 2017)."""
        total = torch.zeros(())
        for critic in self.each:
            real, fake = critic(target)[0], critic(output.detach())[0]
            total = total + (real - 1).square().mean() + fake.square().mean()
        return total / len(self.each)

    def please(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What the decoder minimizes: `adversarial`, and `features`, relative L1 (Larsen et al. 2016).

        No gradient reaches the critics.
        """
        self.requires_grad_(requires_grad=False)
        adversarial, distance, count = torch.zeros(()), torch.zeros(()), 0
        for critic in self.each:
            score, features = critic(output)
            adversarial = adversarial + (score - 1).square().mean() / len(self.each)
            with torch.no_grad():
                _, wanted = critic(target)
            for a, b in zip(features, wanted, strict=True):
                distance, count = distance + F.l1_loss(a, b) / b.abs().mean(), count + 1
        self.requires_grad_(requires_grad=True)
        return {"adversarial": adversarial, "features": distance / count}
