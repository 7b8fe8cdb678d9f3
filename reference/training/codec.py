"""Stages `decoder`, `refine` and `encoder`: both sides of the codec, each against the fixed codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.errors import FlowvoxError
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.codec import Codec
from flowvox.reference.codec_layers import CodecLayer
from flowvox.reference.model import load_model
from flowvox.reference.training.codes import CodeSpace
from flowvox.reference.training.critic import Critics
from flowvox.reference.training.dataset import Dataset
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.session import Session
from flowvox.reference.training.spectral import SpectralLoss
from flowvox.reference.training.synth import FRAME, RATE

CROP, BATCH = 36, 8  # frames per crop, crops per step
CONTEXT = 6  # frames at the head of a crop that the loss skips when they lack their past
NOISY_SHARE = 0.1  # crops whose acoustic codes are off by up to a level
SEMANTIC_SCALE = 0.25  # brings the phonetic vectors to the size of the acoustic values
WEIGHTS = {"phase": 1.0, "level": 1.0, "mel": 0.5, "adversarial": 0.2, "features": 0.5}
ALONE = 60  # steps of `refine` in which only the critics learn

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


def fourier_kernels(channels: int, patch: int, kernel: int) -> Tensor:
    """[channels, patch, kernel]: windowed cosines and sines, mel-spaced from 70 Hz to 11 kHz.

    The encoder starts from a spectrum instead of from noise. Windows end at the newest sample and
    shorten with frequency from the whole span (70 ms, which resolves harmonics) to 10 ms.
    """
    span = patch * kernel
    mel = torch.linspace(math.log(1 + 70 / 700), math.log(1 + 11000 / 700), channels // 2)
    frequency = 700 * (mel.exp() - 1)
    width = (span * (500 / frequency)).clamp(patch, span)
    age = span - 0.5 - torch.arange(span)  # samples before the newest edge
    inside = age < width[:, None]
    window = (math.pi * age / width[:, None]).sin().square() * inside
    # The gain lifts speech at its usual level and spectral tilt to about 0.3 in every channel.
    window = window / window.norm(dim=1, keepdim=True) * 3 * (1 + frequency[:, None] / 300).sqrt()
    angle = 2 * math.pi * frequency[:, None] * age / RATE
    both = torch.cat([window * angle.cos(), window * angle.sin()])
    return both.view(channels, kernel, patch).transpose(1, 2)


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
    decoder = decoder_parts(codec)
    session = Session(work / "decoder", decoder, Optimizers(decoder, lr), minutes, decay=0.998)
    loss_of = SpectralLoss()
    training = crops(data, held_out=False, seed=session.number)
    while session.progress < 1:
        output, samples = decoded(codec, next(training))
        terms = loss_of(output, samples)
        weighted(terms).backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()


def refine_decoder(work: Path, minutes: float, lr: float, start: Path | None) -> None:
    """Train on against critics; resumes from `work`/refine.

    Begins with the decoder of `work`/decoder, else with that of the checkpoint `start`. The codes stay
    as they are, so the language model needs no training for it.
    """
    torch.manual_seed(23)
    data, config = Dataset.load(work), ModelConfig.load(work / "params.json")
    codec = new_codec(config, CodeSpace.load(work / "codes.npz"))
    decoder, critics = decoder_parts(codec), Critics()
    decoder.load_state_dict(trained_decoder(work, start))
    both = nn.ModuleDict({**decoder, "critics": critics})
    session = Session(work / "refine", both, Optimizers(both, lr, warmup=50), minutes, decay=0.998)
    loss_of = SpectralLoss()
    training = crops(data, held_out=False, seed=1_000_000 + session.number)
    while session.progress < 1:
        with torch.set_grad_enabled(session.number >= ALONE):
            output, samples = decoded(codec, next(training))
            terms = loss_of(output, samples) | critics.please(output, samples)
        if session.number >= ALONE:
            weighted(terms).backward()  # type: ignore[no-untyped-call]
        terms["critics"] = critics.judge(output, samples)
        terms["critics"].backward()
        session.step()
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()


def decoder_parts(codec: Codec) -> nn.ModuleDict:
    """The decoder of `codec` under the names that its training states use."""
    return nn.ModuleDict({"blocks": codec.decoder_blocks, "output": codec.output_proj})


def trained_decoder(work: Path, start: Path | None) -> dict[str, Tensor]:
    """State of `decoder_parts`: the moving average of stage `decoder`, else from a checkpoint."""
    file = work / "decoder" / "latest.pt"
    if file.exists():
        average: dict[str, Tensor] = torch.load(file, weights_only=True)["average"]
        return average
    if start is None:
        raise FlowvoxError(f"no decoder in {file.parent}: run stage decoder or give --start")
    codec = load_model(Checkpoint.open(start)).codec
    return {name: value.float() for name, value in decoder_parts(codec).state_dict().items()}


def decoded(codec: Codec, crop: Crops) -> tuple[Tensor, Tensor]:
    """(decoded samples, recorded samples) of a crop, without the head that lacks its past.

    Some of the acoustic codes are off by up to a level, as the language model's will be.
    """
    codes, samples, at_start = crop
    if torch.rand(()) < NOISY_SHARE:
        shift = torch.randint(-1, 2, codes[..., 1:].shape)
        levels = codec.config.acoustic_codebook_size
        codes[..., 1:] = (codes[..., 1:] + shift).clamp(0, levels - 1)
    skip = 0 if at_start else CONTEXT * FRAME
    return codec.decode(codes)[:, skip:], samples[:, skip:]


def weighted(terms: dict[str, Tensor]) -> Tensor:
    """Their sum by WEIGHTS."""
    return torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()


def train_encoder(work: Path, minutes: float, lr: float) -> None:
    """Regress acoustic values and phonetic vectors from audio; resumes from `work`/encoder."""
    torch.manual_seed(19)
    data, config = Dataset.load(work), ModelConfig.load(work / "params.json")
    codec = new_codec(config, CodeSpace.load(work / "codes.npz"))
    assert codec.input_proj is not None
    kernels = fourier_kernels(config.codec.dim, config.codec.patch_size, config.codec.patch_kernel)
    weight = codec.input_proj.conv.parametrizations.weight
    with torch.no_grad():
        weight.original0.copy_(kernels.flatten(1).norm(dim=1).view(-1, 1, 1))
        weight.original1.copy_(kernels)
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
        (10 * acoustic + semantic).backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            power = target[:, dim:].var(dim=(0, 2)).mean()
            session.log(
                acoustic=(acoustic / power).item(),
                semantic=(semantic / target[:, :dim].var(dim=(0, 2)).mean()).item(),
            )
    session.save()
