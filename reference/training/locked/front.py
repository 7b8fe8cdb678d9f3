"""Stage `locked-front`: the decoder's first stage learns to read the envelopes out of the codes.

The codes say far more than a linear map can read out of a single frame. A network that knows the
semantic codes and the frames before finds half of the variance that such a map leaves. Taught by
waveforms, many times as costly per frame, the decoder does not get there; so its stage at 12.5 Hz is
first taught the envelopes themselves.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.training.codec import new_codec
from flowvox.reference.training.locked.codes import LEVELS, CodeSpace, rounded
from flowvox.reference.training.locked.features import ENVELOPE
from flowvox.reference.training.locked.frames import CROP, SHORT_CONTEXT, gather, random_rows
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.session import Session

BATCH = 24
# Crops whose acoustic values, but for the pitch, are off like those of a language model.
NOISY_SHARE, MOST_NOISE = 0.5, 0.25


class Front(nn.Module):
    """The first convolution and transformer of the decoder, with linear probes."""

    def __init__(self, codec: Codec, mean: Tensor) -> None:
        """mean [ENVELOPE]: of the envelopes."""
        super().__init__()
        self.decoder_blocks = codec.decoder_blocks[:2]
        self.envelope = nn.Linear(codec.config.dim, ENVELOPE)
        self.pitch = nn.Linear(codec.config.dim, LEVELS)
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
        rows = random_rows(starts, BATCH).flatten().numpy()
        envelopes = speech.envelopes[rows].astype(np.float32)
        acoustic = np.concatenate([speech.excitation[rows], space.values(envelopes)], axis=1)
        codes = np.column_stack([speech.semantic[rows], rounded(acoustic)]).astype(np.int64)
        given = torch.from_numpy(codes).view(BATCH, CROP, -1)
        latents = codec.quantizer.decode(given)
        output, pitch = front(with_noise(latents, codec.config.semantic_dim + 1))
        target = torch.from_numpy(envelopes).view(BATCH, CROP, -1)
        level = F.one_hot(given[..., 1], LEVELS).float()
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
