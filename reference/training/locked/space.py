"""Stage `locked-space`: what the acoustic values say, learned by a small autoencoder of envelopes.

The encoder is linear and sees one frame; the decoder, a network, has the codes of this frame and of
those before. It stands for the codec's decoder and is dropped. Besides telling the envelopes, the
values have to suit a language model:

* of equal spread and uncorrelated, so that an error of any of them counts alike;
* easy to foretell from the frames before and the semantic codes, which a predictor beside them tries;
* and little harm may come of what it cannot foretell: the decoder also gets values that are off by the
  predictor's errors of other frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.reference.training.locked.codes import LEVELS, CodeSpace
from flowvox.reference.training.locked.features import ENVELOPE
from flowvox.reference.training.locked.frames import SHORT_CONTEXT, gather, random_rows
from flowvox.reference.training.optim import Optimizers

VALUES = 34
SPREAD = 0.35  # standard deviation of a value
COMPONENTS = 256  # principal components of the envelopes that the network works on
SEMANTIC_CODES = 512
BATCH = 24
STEPS = 1500
# Crops whose values are off, by a factor up to this times the predictor's errors.
NOISY_SHARE, MOST_NOISE = 0.6, 1.2
WEIGHTS = {"envelope": 1.0, "spread": 0.03, "unforeseen": 0.03}


class Frames(NamedTuple):
    """M frames; with leading [B, CROP] instead of [M], crops.

    components [M, COMPONENTS]; excitation [M, 2]: acoustic values 0 and 1; semantic [M].
    """

    components: Tensor
    excitation: Tensor
    semantic: Tensor

    def crops(self, starts: Tensor, count: int) -> Frames:
        """Random crops of the sentences that begin at `starts` [N + 1]."""
        rows = random_rows(starts, count)
        return Frames(*(x[rows] for x in self))


class Layer(nn.Module):
    """A causal residual layer over two frames, `dilation` apart."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 2, dilation=dilation)
        self.mix = nn.Linear(width, width)
        nn.init.zeros_(self.mix.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, width]."""
        past = F.pad(self.norm(x).transpose(1, 2), (self.dilation, 0))
        return x + self.mix(F.silu(self.conv(past).transpose(1, 2)))


class Decoder(nn.Module):
    """Values [B, T, VALUES] and the rest of the codes -> components [B, T, COMPONENTS], causally."""

    def __init__(self, width: int = 384) -> None:
        super().__init__()
        self.semantic = nn.Embedding(SEMANTIC_CODES, 64)
        nn.init.normal_(self.semantic.weight, std=0.3)
        self.enter = nn.Linear(VALUES + 2 + 64, width)
        self.layers = nn.Sequential(*(Layer(width, dilation) for dilation in (1, 2, 4, 1)))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, COMPONENTS)
        nn.init.zeros_(self.leave.weight)
        self.direct = nn.Linear(VALUES, COMPONENTS)

    def forward(self, values: Tensor, frames: Frames) -> Tensor:
        given = [values, frames.excitation, self.semantic(frames.semantic)]
        x: Tensor = self.layers(self.enter(torch.cat(given, -1)))
        return self.direct(values) + 10 * self.leave(self.norm(x))


class Predictor(nn.Module):
    """Foretells values of frame t from the codes of t-1 to t-3 and semantic codes of t-1 to t+1."""

    def __init__(self, width: int = 384) -> None:
        super().__init__()
        self.semantic = nn.Embedding(SEMANTIC_CODES, 32)
        self.net = nn.Sequential(
            nn.Linear(3 * (VALUES + 2 + 32), width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, VALUES),
        )

    def forward(self, values: Tensor, frames: Frames) -> Tensor:
        """values [B, T, VALUES] -> [B, T - 4, VALUES]: of frames 3 to T - 2."""
        codes, semantic = torch.cat([values, frames.excitation], -1), self.semantic(frames.semantic)
        before = [codes[:, 2:-2], codes[:, 1:-3], codes[:, :-4]]
        around = [semantic[:, 2:-2], semantic[:, 3:-1], semantic[:, 4:]]
        foretold: Tensor = self.net(torch.cat(before + around, -1))
        return foretold


class Autoencoder(nn.Module):
    """Encoder, decoder and predictor; starts as the first principal components."""

    deviation: Tensor

    def __init__(self, deviation: Tensor) -> None:
        """deviation [COMPONENTS]: of the components."""
        super().__init__()
        self.encoder = nn.Linear(COMPONENTS, VALUES)
        self.decoder, self.predictor = Decoder(), Predictor()
        self.register_buffer("deviation", deviation)
        with torch.no_grad():
            self.encoder.weight.copy_(SPREAD * torch.eye(VALUES, COMPONENTS))
            self.encoder.bias.zero_()
            self.decoder.direct.weight.copy_(
                (deviation[:, None] / SPREAD) * torch.eye(COMPONENTS, VALUES)
            )
            self.decoder.direct.bias.zero_()

    def encode(self, components: Tensor) -> Tensor:
        return torch.tanh(self.encoder(components / self.deviation))

    def losses(self, frames: Frames) -> dict[str, Tensor]:
        """The terms of WEIGHTS, and `clean`: the envelopes' error where the values were not off."""
        values = self.encode(frames.components)
        flat = values.flatten(0, 1)
        mean, covariance = flat.mean(0) / SPREAD, torch.cov(flat.T) / SPREAD**2
        off_unit = (covariance - torch.eye(VALUES)).square().sum() + mean.square().sum()
        values = values + (torch.rand_like(values) - 0.5) * (2 / (LEVELS - 1))  # like rounding
        error = values[:, 3:-1] - self.predictor(values.detach(), frames)
        others = error.detach().flatten(0, 1)
        others = others[torch.randint(len(others), values.shape[:2])]
        strength = MOST_NOISE * torch.rand(len(values), 1, 1)
        strength = strength * (torch.rand(len(values), 1, 1) < NOISY_SHARE)
        sign = torch.randint(0, 2, (*values.shape[:2], 1)) * 2 - 1
        decoded = self.decoder((values + strength * sign * others).clamp(-1, 1), frames)
        square = (decoded - frames.components).square().sum(-1)[:, SHORT_CONTEXT:] / ENVELOPE
        strength = strength[:, 0]
        return {
            "envelope": (square / (1 + strength**2)).mean(),
            "spread": off_unit / VALUES,
            "unforeseen": error.square().mean() / SPREAD**2,
            "clean": square[strength[:, 0] == 0].mean(),
        }


def components(envelopes: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(mean [960], basis [960, COMPONENTS]) of every third frame."""
    some = envelopes[::3].astype(np.float32)
    mean = some.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(some - mean, rowvar=False))
    return mean, vectors[:, ::-1][:, :COMPONENTS].astype(np.float32)


def fit(work: Path, sentences: int, processes: int) -> None:
    """Train on the first `sentences` of the corpus; writes `work`/space/code_space.npz.

    The same every time, but for the order of floating-point sums: a number of steps, not of minutes.
    """
    speech = gather(work, sentences, processes)
    mean, basis = components(speech.envelopes)
    chunks = np.array_split(speech.envelopes, max(1, len(speech.envelopes) // 4000))
    frames = Frames(
        torch.from_numpy(np.concatenate([(part - mean) @ basis for part in chunks])),
        torch.from_numpy(np.array(speech.excitation)),
        torch.from_numpy(speech.semantic.astype(np.int64)),
    )
    starts = torch.from_numpy(np.array(speech.starts))
    torch.manual_seed(37)
    model = Autoencoder(frames.components.std(0))
    optimizers = Optimizers(model, 2e-3, 5e-3, warmup=50)
    for step in range(STEPS):
        terms = model.losses(frames.crops(starts, BATCH))
        loss = torch.stack([weight * terms[name] for name, weight in WEIGHTS.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(step, step / STEPS)
        if step % 50 == 0:
            print(step, {name: round(value.item(), 4) for name, value in terms.items()}, flush=True)
    save(model, mean, basis, frames.crops(starts, 64), work / "space" / "code_space.npz")


@torch.no_grad()
def save(
    model: Autoencoder,
    mean: NDArray[np.float32],
    basis: NDArray[np.float32],
    frames: Frames,
    path: Path,
) -> None:
    """The encoder as a CodeSpace, its scale measured on `frames` by steps of one level."""
    values, step = model.encode(frames.components), 2 / (LEVELS - 1)
    before = model.decoder(values, frames)
    scale = []
    for k in range(VALUES):
        moved = model.decoder(values + step * F.one_hot(torch.tensor(k), VALUES), frames) - before
        scale.append(moved.square().sum(-1).mean().sqrt().item() / step)
    weight, bias = model.encoder.weight / model.deviation, model.encoder.bias
    CodeSpace(mean, basis @ weight.numpy().T, bias.numpy(), np.array(scale, dtype=np.float32)).save(
        path
    )
