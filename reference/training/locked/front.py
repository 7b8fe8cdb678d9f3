"""Stage `locked-front`: the decoder's first stage learns to read the envelopes out of the codes.

The codes say far more than a linear map can read out of a single frame. A network that knows the
semantic codes and the frames before finds half of the variance that such a map leaves. Taught by
waveforms, many times as costly per frame, the decoder does not get there; so its stage at 12.5 Hz is
first taught the envelopes themselves: those of the block from the middle of the frame before to that of
this one, so that all of it is told by codes of both sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.training.codec import new_codec
from flowvox.reference.training.locked.codes import LEVELS, CodeSpace, rounded
from flowvox.reference.training.locked.features import ENVELOPE
from flowvox.reference.training.locked.frames import (
    CROP,
    SHORT_CONTEXT,
    Gathered,
    gather,
    random_rows,
)
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.session import Session

BATCH = 24
# Crops whose acoustic values, but for the pitch, are off like those of a language model.
NOISY_SHARE, MOST_NOISE = 0.5, 0.25
TOLD = 60  # batches that say how what is told spreads
LIVELIEST = 2.5  # times; more would stretch what is hardly foretold


class Front(nn.Module):
    """The first convolution and transformer of the decoder, with linear probes.

    The pitch's first row is told a constant, 1: level 0 does not occur, and what follows needs one.
    """

    def __init__(self, codec: Codec, mean: Tensor) -> None:
        """mean [ENVELOPE]: of the envelopes."""
        super().__init__()
        self.decoder_blocks = codec.decoder_blocks[:2]
        self.envelope = nn.Linear(codec.config.dim, ENVELOPE)
        self.pitch = nn.Linear(codec.config.dim, LEVELS, bias=False)
        with torch.no_grad():
            self.envelope.weight.zero_()
            self.envelope.bias.copy_(mean)

    def stream(self, latents: Tensor) -> Tensor:
        """latents [B, D + 36, T] -> what flows out of the stage, [B, T, dim]."""
        x = latents
        for block in self.decoder_blocks:
            x = block(x)
        return x.transpose(1, 2)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """latents [B, D + 36, T] -> (envelopes [B, T, ENVELOPE], pitch [B, T, LEVELS])."""
        x = self.stream(latents)
        return self.envelope(x), self.pitch(x)


class Told(NamedTuple):
    """N frames of speech: what flows out of the first stage [N, dim], their envelopes [N, ENVELOPE]."""

    stream: Tensor
    envelopes: Tensor


@torch.no_grad()
def told(front: Front, codec: Codec, speech: Gathered) -> Told:
    """Frames of random crops."""
    starts, space = torch.from_numpy(np.array(speech.starts)), CodeSpace.load()
    streams, envelopes = [], []
    for _ in range(TOLD):
        codes, target = crops(speech, starts, space)
        streams.append(front.stream(codec.quantizer.decode(codes))[:, SHORT_CONTEXT:])
        envelopes.append(target[:, SHORT_CONTEXT:])
    return Told(*(torch.cat(x).flatten(0, 1) for x in (streams, envelopes)))


@torch.no_grad()
def enliven(front: Front, frames: Told) -> None:
    """Give the envelopes that `front` tells the true ones' spread: per component, 1 to LIVELIEST times
    its own.

    What is regressed is an expectation: it varies less than what it stands for, and sounds dull. Each
    principal component of what is told is stretched (as global variance is restored in parametric
    synthesis, Toda and Tokuda 2007).
    """
    own, true = front.envelope(frames.stream), frames.envelopes
    variance, basis = torch.linalg.eigh(torch.cov(own.T))
    basis = basis[:, -front.envelope.in_features :]
    variance = variance[-front.envelope.in_features :].clamp(min=1e-9)
    stretch = ((true @ basis).var(0) / variance).sqrt().clamp(1, LIVELIEST)
    mean = own.mean(0)
    weight = basis @ (stretch[:, None] * (basis.T @ front.envelope.weight))
    front.envelope.weight.copy_(weight)
    front.envelope.bias.add_(mean - front.envelope(frames.stream).mean(0))


def crops(speech: Gathered, starts: Tensor, space: CodeSpace) -> tuple[Tensor, Tensor]:
    """Random crops: (codes [B, CROP, 37], envelopes of the blocks that end in the frames).

    A block's envelopes [B, CROP, ENVELOPE] are the second half of the frame before and the first of its
    own; of a crop's first block the first half is not known, and 0.
    """
    rows = random_rows(starts, BATCH).flatten().numpy()
    envelopes = speech.envelopes[rows].astype(np.float32)
    acoustic = np.concatenate([speech.excitation[rows], space.values(envelopes)], axis=1)
    codes = np.column_stack([speech.semantic[rows], rounded(acoustic)]).astype(np.int64)
    early, late = torch.from_numpy(envelopes).view(BATCH, CROP, 2, -1).unbind(2)
    blocks = torch.cat([F.pad(late[:, :-1], (0, 0, 1, 0)), early], -1)
    return torch.from_numpy(codes).view(BATCH, CROP, -1), blocks


def with_noise(latents: Tensor, first: int) -> Tensor:
    """Acoustic values from channel `first` on, off by noise in part of the batch."""
    strength = MOST_NOISE * torch.rand(len(latents), 1, 1)
    strength = strength * (torch.rand(len(latents), 1, 1) < NOISY_SHARE)
    values = latents[:, first:]
    noisy = (values + strength * torch.randn_like(values)).clamp(-1, 1)
    return torch.cat([latents[:, :first], noisy], 1)


def train_front(work: Path, minutes: float, sentences: int, processes: int) -> None:
    """Regress envelopes and pitch from codes; resumes from `work`/locked/front."""
    speech = gather(work, sentences, processes)
    config, space = ModelConfig.load(work / "locked" / "params.json"), CodeSpace.load()
    semantics = Semantics.load(work / "export" / "semantics.npz")
    torch.manual_seed(41)
    codec = new_codec(config, semantics.vectors)
    front = Front(codec, torch.from_numpy(space.mean))
    session = Session(
        work / "locked" / "front", front, Optimizers(front, 2e-3, 4e-3, warmup=50), minutes, 0.99
    )
    starts = torch.from_numpy(np.array(speech.starts))
    torch.manual_seed(session.number)  # other crops after an interruption
    while session.progress < 1:
        given, target = crops(speech, starts, space)
        latents = codec.quantizer.decode(given)
        output, pitch = front(with_noise(latents, codec.config.semantic_dim + 1))
        level = F.one_hot(given[..., 1], LEVELS).float()
        level[..., 0] = 1
        terms = {
            "envelope": F.mse_loss(output[:, SHORT_CONTEXT:], target[:, SHORT_CONTEXT:]),
            "pitch": LEVELS * F.mse_loss(pitch, level),
        }
        loss = terms["envelope"] + 0.1 * terms["pitch"]
        loss.backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()
