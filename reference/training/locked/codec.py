"""Stages `locked-decoder` and `locked-encoder`: both sides of the codec, each against the fixed codes.

The waveform is a function of the codes, so the decoder is regressed, phase and all, without a critic.
Two probes, dropped after training, lead it there: a linear one finds which of the twenty excitations a
frame has, and a convolution on the last stage's middle layer sounds it with a flat spectrum. Regressed
on speech alone, the loud low harmonics hide the others, and it learns noise in their place. README.md
says how far this went. The first stage comes from front.py and is left as it is at first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.codec_layers import CausalConv1d, CodecTransformer, attention_bias
from flowvox.reference.training.codec import CONTEXT, Crops, decoder_parts, new_codec, state_of
from flowvox.reference.training.locked.codes import LEVELS
from flowvox.reference.training.locked.spectral import SpectralLoss
from flowvox.reference.training.locked.synth import MIN_CYCLES, excitations
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.session import Session
from flowvox.reference.training.speech import FRAME, Speech

BATCH = 8
SHORT_CONTEXT = 2  # frames at the head of a crop that the decoder's loss skips
NOISY_SHARE = 0.1  # crops whose acoustic codes, but for the pitch, are off by up to a level
PROBED_LAYER = 2  # of the last stage
WEIGHTS = {"phase": 1.0, "level": 1.0, "mel": 0.5, "excitation": 1.0, "pitch": 1.0}
PROBES, PROBED_SHARE = {"excitation", "pitch"}, 0.5  # they fade out in the first half
FIXED_SHARE = 0.4  # of the time, until when the first stage keeps what front.py taught it


def prepared(folder: Path) -> tuple[Codec, Crops, Tensor]:
    """(codec with fresh weights, crops, all codes [M, 37]) of `work`/locked."""
    config, speech = ModelConfig.load(folder / "params.json"), Speech.load(folder / "speech")
    semantics = Semantics.load(folder / "semantics.npz")
    codec = new_codec(config, semantics.vectors)
    crops = Crops(speech, semantics.codes, np.load(folder / "held_out.npy"), "cpu")
    acoustic = np.load(folder / "codes.npy")
    codes = np.column_stack([semantics.codes, acoustic]).astype(np.int64)
    return codec, crops, torch.from_numpy(codes)


class Probed(nn.Module):
    """The decoder with its two probes."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.decoder = decoder_parts(codec)
        c = codec.config
        self.pitch = nn.Linear(c.dim, LEVELS)
        self.sound = CausalConv1d(c.dim, c.patch_size, c.patch_kernel, mode="reflect")
        self.sound.load_state_dict(codec.output_proj.state_dict())

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """latents [B, D + 36, T] -> (samples, excitation [B, T * FRAME], pitch [B, T, LEVELS])."""
        first, front, *later, last = self.decoder["decoder_blocks"].children()
        assert isinstance(last, CodecTransformer)
        x = front(first(latents))
        pitch = self.pitch(x.transpose(1, 2))
        for block in later:
            x = block(x)
        bias = attention_bias(x.shape[-1], last.window, last.n_heads, x.dtype, x.device)
        y, middle = x.transpose(1, 2), x
        for number, layer in enumerate(last.layers, start=1):
            y = layer(y, bias)
            if number == PROBED_LAYER:
                middle = y.transpose(1, 2)
        samples = self.decoder["output_proj"](y.transpose(1, 2))
        excitation = self.sound(middle)
        return samples.transpose(1, 2).flatten(1), excitation.transpose(1, 2).flatten(1), pitch


def train_decoder(folder: Path, minutes: float) -> None:
    """Regress the waveform from the codes; resumes from `folder`/decoder."""
    torch.manual_seed(17)
    codec, crops, codes = prepared(folder)
    decoder, loss_of = Probed(codec), SpectralLoss()
    table = torch.from_numpy(excitations())
    front = nn.ModuleDict({"decoder_blocks": codec.decoder_blocks[:2]})
    taught = state_of(folder / "front").items()
    front.load_state_dict({k: v for k, v in taught if k in front.state_dict()})
    optimizers = Optimizers(decoder, 2e-3, 3e-3)
    session = Session(folder / "decoder", decoder, optimizers, minutes, decay=0.998)
    torch.manual_seed(session.number)  # other crops after an interruption
    while session.progress < 1:
        front.requires_grad_(session.progress > FIXED_SHARE)
        samples, rows, at_start = crops.draw(BATCH)
        given = codes[rows]
        level = given[..., 1].clone()
        if torch.rand(()) < NOISY_SHARE:
            shift = torch.randint(-1, 2, given[..., 2:].shape)
            given[..., 2:] = (given[..., 2:] + shift).clamp(0, LEVELS - 1)
        output, excitation, pitch = decoder(codec.quantizer.decode(given))
        pulses = table[level + MIN_CYCLES - 1].flatten(1)
        skip = 0 if at_start else SHORT_CONTEXT * FRAME
        terms = loss_of(output[:, skip:], samples[:, skip:])
        terms["excitation"] = loss_of(excitation[:, skip:], pulses[:, skip:])["phase"]
        terms["pitch"] = LEVELS * F.mse_loss(pitch, F.one_hot(level, LEVELS).float())
        fade = max(0.0, 1 - session.progress / PROBED_SHARE)
        weights = {name: w * (fade if name in PROBES else 1) for name, w in WEIGHTS.items()}
        loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()


def train_encoder(folder: Path, minutes: float) -> None:
    """Regress acoustic values and semantic vectors from audio; resumes from `folder`/encoder.

    It begins with the encoder of the first training, which hears the same semantic vectors.
    """
    torch.manual_seed(19)
    codec, crops, codes = prepared(folder)
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
        (10 * acoustic + semantic).backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(acoustic=acoustic.item(), semantic=semantic.item())
    session.save()
