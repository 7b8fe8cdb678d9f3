"""Stages `decoder` and `encoder`: both sides of the codec, each against the fixed codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.codec_layers import CodecLayer
from flowvox.reference.training.codes import CodeSpace
from flowvox.reference.training.dataset import Dataset
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.session import Session
from flowvox.reference.training.spectral import SpectralLoss
from flowvox.reference.training.synth import FRAME

CROP, BATCH = 36, 8  # frames per crop, crops per step
CONTEXT = 6  # frames at the head of a crop that the loss skips when they lack their past
NOISY_SHARE = 0.1  # crops whose acoustic codes are off by up to a level
SEMANTIC_SCALE = 0.25  # brings the phonetic vectors to the size of the acoustic values
WEIGHTS = {"phase": 1.0, "level": 1.0, "mel": 0.5}

Crops = tuple[Tensor, Tensor, bool]


def new_codec(config: ModelConfig, space: CodeSpace) -> Codec:
    """A codec with fresh weights and the fixed semantic centroids."""
    codec = Codec(config.codec, encoder=True)
    codebook = codec.quantizer.semantic_codebook
    with torch.no_grad():
        codebook.embedding_sum.copy_(torch.from_numpy(space.centroids) * SEMANTIC_SCALE)
    for module in codec.modules():
        if isinstance(module, CodecLayer):
            nn.init.constant_(module.attention_scale, 0.3)
            nn.init.constant_(module.ffn_scale, 0.3)
    return codec


def crops(data: Dataset, *, held_out: bool, seed: int) -> Iterator[Crops]:
    """Endless (codes [B, CROP, 37], samples [B, CROP * FRAME], whether crops start utterances)."""
    rng = np.random.default_rng([13, seed])
    lengths = np.diff(data.starts)
    pool = np.flatnonzero((lengths >= CROP) & (data.held_out == held_out))
    while True:
        at_start = bool(rng.random() < 0.3)
        codes, samples = [], []
        for utterance in rng.choice(pool, BATCH):
            offset = 0 if at_start else int(rng.integers(lengths[utterance] - CROP + 1))
            first = data.starts[utterance] + offset
            span = slice(first, first + CROP)
            codes.append(np.concatenate([data.semantic[span, None], data.codes[span]], axis=1))
            samples.append(data.audio[first * FRAME : (first + CROP) * FRAME])
        audio = np.stack(samples).astype(np.float32) / 32767
        yield torch.from_numpy(np.stack(codes).astype(np.int64)), torch.from_numpy(audio), at_start


def train_decoder(work: Path, minutes: float, lr: float) -> None:
    """Regress the phase-locked waveform from the codes; resumes from `work`/decoder."""
    torch.manual_seed(17)
    data, config = Dataset.load(work), ModelConfig.load(work / "params.json")
    codec = new_codec(config, CodeSpace.load(work / "codes.npz"))
    decoder = nn.ModuleDict({"blocks": codec.decoder_blocks, "output": codec.output_proj})
    session = Session(work / "decoder", decoder, Optimizers(decoder, lr), minutes, decay=0.998)
    loss_of = SpectralLoss()
    training = crops(data, held_out=False, seed=session.number)
    while session.progress < 1:
        codes, samples, at_start = next(training)
        if torch.rand(()) < NOISY_SHARE:
            shift = torch.randint(-1, 2, codes[..., 1:].shape)
            codes[..., 1:] = (codes[..., 1:] + shift).clamp(0, config.codec.acoustic_codebook_size - 1)
        output = codec.decode(codes)
        skip = 0 if at_start else CONTEXT * FRAME
        terms = loss_of(output[:, skip:], samples[:, skip:])
        torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum().backward()
        session.step()
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()


def train_encoder(work: Path, minutes: float, lr: float) -> None:
    """Regress acoustic values and phonetic vectors from audio; resumes from `work`/encoder."""
    torch.manual_seed(19)
    data, config = Dataset.load(work), ModelConfig.load(work / "params.json")
    codec = new_codec(config, CodeSpace.load(work / "codes.npz"))
    assert codec.input_proj is not None
    encoder = nn.ModuleDict({"input": codec.input_proj, "blocks": codec.encoder_blocks})
    session = Session(work / "encoder", encoder, Optimizers(encoder, lr), minutes, decay=0.998)
    training = crops(data, held_out=False, seed=session.number)
    while session.progress < 1:
        codes, samples, at_start = next(training)
        gain = 10 ** (torch.rand(len(samples), 1) * 0.1 - 0.05)
        target = codec.quantizer.decode(codes)
        latents = codec.encode_latents(samples * gain)
        skip = 0 if at_start else CONTEXT
        latents, target = latents[..., skip:], target[..., skip:]
        dim = config.codec.semantic_dim
        acoustic = F.mse_loss(latents[:, dim:].tanh(), target[:, dim:])
        semantic = F.mse_loss(latents[:, :dim], target[:, :dim])
        (10 * acoustic + semantic).backward()
        session.step()
        if session.number % 25 == 0:
            power = target[:, dim:].var(dim=(0, 2)).mean()
            session.log(
                acoustic=(acoustic / power).item(),
                semantic=(semantic / target[:, :dim].var(dim=(0, 2)).mean()).item(),
            )
    session.save()
