"""Stages `locked-decoder` and `locked-encoder`: both sides of the codec, each against the fixed codes.

The decoder's first stage was taught by front.py, the weights of the others are computed (construct.py).
Then all of them are regressed on spectra, what was computed in much smaller steps than what is silent
yet (pace.py), and critics of envelopes join in.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.training.codec import (
    CONTEXT,
    CROP,
    Crops,
    critic_step,
    decoder_parts,
    new_codec,
    pleased,
    state_of,
    weighted,
)
from flowvox.reference.training.locked.construct import LATE, construct
from flowvox.reference.training.locked.corpus import mean_phase
from flowvox.reference.training.locked.critics import envelope_critics
from flowvox.reference.training.locked.features import ENVELOPE
from flowvox.reference.training.locked.frames import gather
from flowvox.reference.training.locked.front import Front, enliven, told
from flowvox.reference.training.locked.pace import paces
from flowvox.reference.training.locked.sounds import Sounds
from flowvox.reference.training.locked.spectral import SpectralLoss
from flowvox.reference.training.locked.teacher import Teacher
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.session import Session
from flowvox.reference.training.speech import FRAME, Speech

BATCH = 8
SHORT_CONTEXT = 2  # frames at the head of a crop that have too little past
SEMANTIC_WEIGHT = 3  # in the encoder's loss: a wrong semantic code is another sound
DECODER_LR, CRITIC_LR = 3e-4, 3e-4
DECODER_CROP = 10  # frames
CRITICS_FROM = 0.1  # share of the decoder's time without critics
WEIGHTS = {"level": 1.0, "mel": 6.0, "adversarial": 1.0, "features": 2.0}


def prepared(folder: Path, crop: int) -> tuple[Codec, Crops, Tensor]:
    """(codec with fresh weights, crops of `crop` frames, all codes [M, 37]) of `work`/locked."""
    config, speech = ModelConfig.load(folder / "params.json"), Speech.load(folder / "speech")
    semantics = Semantics.load(folder / "semantics.npz")
    codec = new_codec(config, semantics.vectors)
    crops = Crops(speech, semantics.codes, np.load(folder / "held_out.npy"), "cpu", crop)
    acoustic = np.load(folder / "codes.npy")
    codes = np.column_stack([semantics.codes, acoustic]).astype(np.int64)
    return codec, crops, torch.from_numpy(codes)


def train_decoder(work: Path, minutes: float, sentences: int, processes: int) -> None:
    """Compute the decoder, then regress spectra from the codes; resumes from `work`/locked/decoder.

    sentences: that say how envelopes spread, as for `locked-front`.
    """
    torch.manual_seed(17)
    folder = work / "locked"
    codec, crops, codes = prepared(folder, DECODER_CROP)
    front = Front(codec, torch.zeros(ENVELOPE))  # shares the codec's blocks
    front.load_state_dict(state_of(folder / "front"))
    frames = told(front, codec, gather(work, sentences, processes))
    enliven(front, frames)
    texts = json.loads((folder / "texts.json").read_text("utf-8"))[:40]
    filled = construct(codec, front, frames.stream, Sounds.of(mean_phase(Teacher(), texts)))
    decoder, loss_of = decoder_parts(codec).requires_grad_(False), SpectralLoss()
    paced = paces(decoder, filled)
    for name in paced:
        decoder.get_parameter(name).requires_grad_(True)
    critics = envelope_critics()
    opponent = torch.optim.AdamW(critics.parameters(), CRITIC_LR, betas=(0.8, 0.99))
    session = Session(
        folder / "decoder",
        decoder,
        Optimizers(decoder, DECODER_LR, warmup=300, paces=paced),
        minutes,
        decay=0.998,
        beside={"critics": critics, "opponent": opponent},
    )
    torch.manual_seed(session.number)  # other crops after an interruption
    while session.progress < 1:
        samples, rows, at_start = crops.draw(BATCH)
        output = codec.decode_latents(codec.quantizer.decode(codes[rows]))
        skip = 0 if at_start else SHORT_CONTEXT * FRAME
        output, target = output[:, skip + LATE :], samples[:, skip:-LATE]
        terms, judged = loss_of(output, target), session.progress >= CRITICS_FROM
        if judged:
            terms |= pleased(critics, output, target)
        weighted(terms, WEIGHTS).backward()  # type: ignore[no-untyped-call]
        session.step()
        if judged:
            terms["critics"] = critic_step(critics, opponent, output, target)
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()


def train_encoder(folder: Path, minutes: float) -> None:
    """Regress acoustic values and semantic vectors from audio; resumes from `folder`/encoder.

    It begins with the encoder of the first training, which hears the same semantic vectors.
    """
    torch.manual_seed(19)
    codec, crops, codes = prepared(folder, CROP)
    assert codec.input_proj is not None
    encoder = nn.ModuleDict(
        {"input_proj": codec.input_proj, "encoder_blocks": codec.encoder_blocks}
    )
    before = torch.load(folder.parent / "export" / "codec.pt", weights_only=True)
    encoder.load_state_dict({k: v for k, v in before.items() if k in encoder.state_dict()})
    session = Session(folder / "encoder", encoder, Optimizers(encoder, 1e-3), minutes, decay=0.995)
    dim = codec.config.semantic_dim
    torch.manual_seed(session.number)  # other crops after an interruption
    while session.progress < 1:
        samples, rows, at_start = crops.draw(BATCH)
        gain = 10 ** (torch.rand(len(samples), 1) * 0.1 - 0.05)
        target = codec.quantizer.decode(codes[rows])
        skip = 0 if at_start else CONTEXT
        latents, target = codec.encode_latents(samples * gain)[..., skip:], target[..., skip:]
        acoustic = F.mse_loss(latents[:, dim:].tanh(), target[:, dim:])
        semantic = F.mse_loss(latents[:, :dim], target[:, :dim])
        (10 * acoustic + SEMANTIC_WEIGHT * semantic).backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(acoustic=acoustic.item(), semantic=semantic.item())
    session.save()
