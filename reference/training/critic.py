"""Critics for the codec: networks that tell recorded from decoded speech.

Complex spectra at three resolutions as images (Défossez et al. 2022), and the waveform folded at five
periods (Kong et al. 2020). A decoder that is only regressed answers with the mean of what its codes
allow, which is a buzz; the critics make it choose.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SIZES = (2048, 1024, 512)
PERIODS = (2, 3, 5, 7, 11)
CHANNELS = 32
PERIOD_CHANNELS = (16, 64, 128, 256)
SLOPE = 0.1

Opinion = tuple[Tensor, list[Tensor]]  # (a score for each patch, the features of each layer)


class SpectrumCritic(nn.Module):
    """Samples [B, n] -> a score for each patch of their complex spectrum: 1 recorded, 0 decoded."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        c = CHANNELS
        self.convolutions = nn.ModuleList(
            [weight_norm(nn.Conv2d(2, c, (3, 9), padding=(1, 4)))]
            + [
                weight_norm(nn.Conv2d(c, c, (3, 9), stride=(1, 2), dilation=(d, 1), padding=(d, 4)))
                for d in (1, 2, 4)
            ]
            + [weight_norm(nn.Conv2d(c, c, (3, 3), padding=1))]
        )
        self.score = weight_norm(nn.Conv2d(c, 1, 3, padding=1))

    def forward(self, samples: Tensor) -> Opinion:
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                samples.float(), self.size, self.size // 4, window=self.window,
                normalized=True, return_complex=True,
            )  # fmt: skip
            # loud partials would hide the rest: the magnitude is compressed, the phase kept
            squared = spectrum.real.square() + spectrum.imag.square()
            shrink = (squared + 1e-5).pow(-0.25)
            x = torch.stack([spectrum.real * shrink, spectrum.imag * shrink], 1).transpose(2, 3)
        features = []
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), SLOPE)
            features.append(x)
        return self.score(x), features


class PeriodCritic(nn.Module):
    """Samples [B, n] folded into rows of `period`: what repeats and what does not."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, *PERIOD_CHANNELS)
        self.convolutions = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), padding=(2, 0)))
            for a, b in itertools.pairwise(widths)
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, samples: Tensor) -> Opinion:
        rows = samples.shape[-1] // self.period
        x = samples[:, : rows * self.period].view(len(samples), 1, rows, self.period)
        features = []
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), SLOPE)
            features.append(x)
        return self.score(x), features


def all_critics() -> Critics:
    """Of three resolutions and five periods."""
    return Critics([*map(SpectrumCritic, SIZES), *map(PeriodCritic, PERIODS)])


class Critics(nn.Module):
    """Several together; the least-squares losses of both sides (Mao et al. 2017)."""

    def __init__(self, each: Iterable[nn.Module]) -> None:
        """Modules that give an `Opinion` of samples [B, n]."""
        super().__init__()
        self.each = nn.ModuleList(each)

    def judge(self, output: Tensor, target: Tensor) -> Tensor:
        """What the critics minimize."""
        losses = []
        both = torch.cat([target, output.detach()])
        for critic in self.each:
            real, fake = critic(both)[0].float().chunk(2)
            losses.append((real - 1).square().mean() + fake.square().mean())
        return torch.stack(losses).mean()

    def please(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What the decoder minimizes: `adversarial`, and `features`, relative L1 (Larsen et al. 2016).

        No gradient reaches the critics.
        """
        self.requires_grad_(requires_grad=False)
        adversarial, distances = [], []
        for critic in self.each:
            score, features = critic(output)
            adversarial.append((score.float() - 1).square().mean())
            with torch.no_grad():
                _, wanted = critic(target)
            distances += [
                F.l1_loss(a.float(), b.float()) / b.float().abs().mean()
                for a, b in zip(features, wanted, strict=True)
            ]
        self.requires_grad_(requires_grad=True)
        return {
            "adversarial": torch.stack(adversarial).mean(),
            "features": torch.stack(distances).mean(),
        }
