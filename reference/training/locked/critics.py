"""Critics that hear what the codes of a phase-locked corpus leave open: its envelopes.

What is regressed is an expectation, smoother in time and frequency than speech. Excitation and noise
follow from the codes, so that little else is left to judge. Two kinds: an image, in which every place
is judged by its surroundings, and steps, of which each is judged by all frequencies at once. The
latter learn in a few dozen batches what takes images hundreds, at half of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.reference.training.critic import Critics, Opinion
from flowvox.reference.training.spectral import MEL_BANDS, mel_filters

SLOPE = 0.2
IMAGE_CHANNELS, STEP_CHANNELS = 32, 192
FLOOR = 1e-7  # of squared magnitudes


class MelBands(nn.Module):
    """Samples [B, n] -> [B, MEL_BANDS, T]: log mel magnitudes, about 1 in size."""

    channels = MEL_BANDS

    def __init__(self, size: int, hop: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.window: Tensor
        self.filters: Tensor
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.register_buffer("filters", mel_filters(size), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        with torch.autocast(samples.device.type, enabled=False):
            x = samples.float()
            spectrum = torch.stft(x, self.size, self.hop, window=self.window, return_complex=True)
            magnitude = (spectrum.real.square() + spectrum.imag.square() + FLOOR).sqrt()
            bands = magnitude.transpose(1, 2) @ self.filters
            return ((bands + 1e-3).log() / 2 + 1).transpose(1, 2)


class Spectrum(nn.Module):
    """Samples [B, n] -> [B, 3 * bins, T]: log magnitudes, and both parts of the spectrum, compressed.

    A quarter of `size` from step to step.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.channels = size, 3 * (size // 2 + 1)
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(size), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                samples.float(), self.size, self.size // 4, window=self.window,
                normalized=True, return_complex=True,
            )  # fmt: skip
            power = spectrum.real.square() + spectrum.imag.square() + FLOOR
            shrink = 2 * power.pow(-0.35)
            level = (power.log() / 2 + 4) / 2.5
            return torch.cat([level, spectrum.real * shrink, spectrum.imag * shrink], 1)


class _Critic(nn.Module):
    """Convolutions over what `view` shows; a score for each of their places."""

    def __init__(self, view: nn.Module, convolutions: list[nn.Module], score: nn.Module) -> None:
        super().__init__()
        self.view, self.convolutions, self.score = view, nn.ModuleList(convolutions), score
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, SLOPE)
                nn.init.zeros_(module.bias)
        assert isinstance(score.weight, Tensor)
        nn.init.normal_(score.weight, 0, 0.01)  # no opinion yet

    def forward(self, samples: Tensor) -> Opinion:
        x, features = self.view(samples), []
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), SLOPE)
            features.append(x)
        return self.score(x), features


class ImageCritic(_Critic):
    """Of log mel magnitudes over time and bands."""

    def __init__(self, size: int, hop: int) -> None:
        c = IMAGE_CHANNELS
        super().__init__(
            nn.Sequential(MelBands(size, hop), nn.Unflatten(1, (1, MEL_BANDS))),
            [
                nn.Conv2d(1, c, (5, 3), (2, 1), padding=(2, 1)),
                nn.Conv2d(c, c, (5, 3), (2, 1), padding=(2, 1)),
                nn.Conv2d(c, 2 * c, (5, 3), (2, 2), padding=(2, 1)),
                nn.Conv2d(2 * c, 2 * c, 3, padding=1),
            ],
            nn.Conv2d(2 * c, 1, 3, padding=1),
        )


class StepCritic(_Critic):
    """Of steps, by what a view says of all frequencies."""

    def __init__(self, view: MelBands | Spectrum) -> None:
        c = STEP_CHANNELS
        super().__init__(
            view,
            [
                nn.Conv1d(view.channels, c, 3, padding=1),
                nn.Conv1d(c, c, 5, padding=2),
                nn.Conv1d(c, c, 3, padding=2, dilation=2),
            ],
            nn.Conv1d(c, 1, 3, padding=1),
        )


def envelope_critics() -> Critics:
    """An image, and steps of 10, 5 and 11 ms."""
    return Critics(
        [
            ImageCritic(1024, 240),
            StepCritic(MelBands(1024, 240)),
            StepCritic(MelBands(512, 120)),
            StepCritic(Spectrum(1024)),
        ]
    )
