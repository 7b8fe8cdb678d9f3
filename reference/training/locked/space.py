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

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.locked.codes import LEVELS, CodeSpace, excitation
from flowvox.reference.training.locked.corpus import mean_phase, spoken, voice_of
from flowvox.reference.training.locked.features import ENVELOPE, FLOORS, frame_features, in_frames
from flowvox.reference.training.locked.synth import FRAME, locked_phase
from flowvox.reference.training.locked.teacher import Teacher
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.semantics import LABELS, Semantics

VALUES = 34
SPREAD = 0.35  # standard deviation of a value
COMPONENTS = 256  # principal components of the envelopes that the network works on
SEMANTIC_CODES = 512
CROP, BATCH = 48, 24
STEPS = 1500
SHORT_CONTEXT = 4  # frames at the head of a crop that the loss skips
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


def random_rows(starts: Tensor, count: int) -> Tensor:
    """Rows [count, CROP] of the frames of random crops."""
    room = starts.diff() - CROP
    chosen = torch.multinomial((room >= 0).float(), count, replacement=True)
    offset = (torch.rand(count) * (room[chosen] + 1)).long()
    return (starts[chosen] + offset)[:, None] + torch.arange(CROP)


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


def _part(task: tuple[list[str], NDArray[np.float32]]) -> list[tuple[NDArray[Any], ...]]:
    (texts, phase), teacher = task, Teacher()
    rows: list[tuple[NDArray[Any], ...]] = []
    for text in texts:
        parameters = spoken(teacher, teacher.phonemes(text), phase, voice_of(text))
        if parameters is not None:
            envelopes, voiced = frame_features(parameters)
            _, cycles, _ = locked_phase(parameters.f0, len(envelopes) * FRAME)
            low = np.maximum(envelopes, FLOORS).astype(np.float16)
            labels = in_frames(parameters.phonemes, LABELS)
            rows.append((low, excitation(cycles, voiced), labels))
    return rows


def gather(work: Path, sentences: int, processes: int) -> None:
    """Write `work`/space/{envelopes,excitation,semantic,starts}.npy of training sentences, once."""
    folder = work / "space"
    if (folder / "envelopes.npy").exists():
        return
    folder.mkdir(exist_ok=True)
    texts = json.loads((work / "texts.json").read_text("utf-8"))[:sentences]
    phase = mean_phase(Teacher(), texts[:40])
    held = Corpus.load(work / "corpus.npz").held_out
    known = [text for text, out in zip(texts, held[:sentences], strict=True) if not out]
    tasks = [(known[i : i + 250], phase) for i in range(0, len(known), 250)]
    with ProcessPoolExecutor(processes) as pool:
        rows = [row for part in pool.map(_part, tasks) for row in part]
    envelopes, sounds, labels = (np.concatenate(column) for column in zip(*rows, strict=True))
    semantic = Semantics.load(work / "export" / "semantics.npz").of(labels).codes
    np.save(folder / "excitation.npy", sounds)
    np.save(folder / "semantic.npy", semantic)
    np.save(folder / "starts.npy", np.cumsum([0] + [len(row[0]) for row in rows]))
    np.save(folder / "envelopes.npy", envelopes)


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
    folder = work / "space"
    gather(work, sentences, processes)
    envelopes = np.load(folder / "envelopes.npy", mmap_mode="r")
    mean, basis = components(envelopes)
    chunks = np.array_split(envelopes, max(1, len(envelopes) // 4000))
    frames = Frames(
        torch.from_numpy(np.concatenate([(part - mean) @ basis for part in chunks])),
        torch.from_numpy(np.load(folder / "excitation.npy")),
        torch.from_numpy(np.load(folder / "semantic.npy").astype(np.int64)),
    )
    starts = torch.from_numpy(np.load(folder / "starts.npy"))
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
    torch.save(model.state_dict(), folder / "autoencoder.pt")
    save(model, mean, basis, frames.crops(starts, 64), folder / "code_space.npz")


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
