"""Stages `locked-decoder` and `locked-encoder`: both sides of the codec, each against the fixed codes.

The waveform is a function of the codes, so the decoder is regressed, phase and all, without a critic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.training.codec import CONTEXT, Crops, decoder_parts, new_codec
from flowvox.reference.training.locked.spectral import SpectralLoss
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.session import Session
from flowvox.reference.training.speech import FRAME, Speech

BATCH = 8
NOISY_SHARE = 0.1  # crops whose acoustic codes are off by up to a level
WEIGHTS = {"phase": 1.0, "level": 1.0, "mel": 0.5}


def prepared(folder: Path) -> tuple[Codec, Crops, Tensor]:
    """(codec with fresh weights, crops, all codes [M, 37]) of `work`/locked."""
    config, speech = ModelConfig.load(folder / "params.json"), Speech.load(folder / "speech")
    semantics = Semantics.load(folder / "semantics.npz")
    codec = new_codec(config, semantics.vectors)
    crops = Crops(speech, semantics.codes, np.load(folder / "held_out.npy"), "cpu")
    acoustic = np.load(folder / "codes.npy")
    codes = np.column_stack([semantics.codes, acoustic]).astype(np.int64)
    return codec, crops, torch.from_numpy(codes)


def train_decoder(folder: Path, minutes: float) -> None:
    """Regress the waveform from the codes; resumes from `folder`/decoder."""
    torch.manual_seed(17)
    codec, crops, codes = prepared(folder)
    decoder, loss_of = decoder_parts(codec), SpectralLoss()
    session = Session(folder / "decoder", decoder, Optimizers(decoder, 2e-3), minutes, decay=0.998)
    while session.progress < 1:
        samples, rows, at_start = crops.draw(BATCH)
        given = codes[rows]
        if torch.rand(()) < NOISY_SHARE:
            shift = torch.randint(-1, 2, given[..., 1:].shape)
            most = codec.config.acoustic_codebook_size - 1
            given[..., 1:] = (given[..., 1:] + shift).clamp(0, most)
        skip = 0 if at_start else CONTEXT * FRAME
        terms = loss_of(codec.decode(given)[:, skip:], samples[:, skip:])
        loss = torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()


def train_encoder(folder: Path, minutes: float) -> None:
    """Regress acoustic values and phonetic vectors from audio; resumes from `folder`/encoder."""
    torch.manual_seed(19)
    codec, crops, codes = prepared(folder)
    assert codec.input_proj is not None
    encoder = nn.ModuleDict(
        {"input_proj": codec.input_proj, "encoder_blocks": codec.encoder_blocks}
    )
    session = Session(folder / "encoder", encoder, Optimizers(encoder, 2e-3), minutes, decay=0.998)
    dim = codec.config.semantic_dim
    while session.progress < 1:
        samples, rows, at_start = crops.draw(BATCH)
        gain = 10 ** (torch.rand(len(samples), 1) * 0.1 - 0.05)
        target = codec.quantizer.decode(codes[rows])
        skip = 0 if at_start else CONTEXT
        latents, target = codec.encode_latents(samples * gain)[..., skip:], target[..., skip:]
        acoustic = F.mse_loss(latents[:, dim:].tanh(), target[:, dim:])
        semantic = F.mse_loss(latents[:, :dim], target[:, :dim])
        (10 * acoustic + semantic).backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(acoustic=acoustic.item(), semantic=semantic.item())
    session.save()
