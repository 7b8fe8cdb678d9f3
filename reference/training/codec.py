"""Stages `codec` and `decoder`: both sides of the codec together, then the decoder alone.

`codec` trains encoder and decoder end to end through the 36 quantized values, with critics. Noise on
the latents makes the code robust to what a language model will get wrong. Then the codes are fixed,
the language model trains on them, and `decoder` goes on beside it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.codec_layers import CodecLayer
from flowvox.reference.training.critic import Critics, all_critics
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.session import Session
from flowvox.reference.training.spectral import SpectralLoss
from flowvox.reference.training.speech import FRAME, Speech

RATE = 24000
SYNTHESIS_GAIN = 0.02
CROP = 18  # frames
CONTEXT = 6  # frames at the head of a crop that the loss skips when they lack their past
START_SHARE = 0.2  # crops at the start of an utterance, where there is no past
LATENT_NOISE = 0.12  # largest standard deviation; a level is 0.1 wide
CALM = (
    0.02  # weight of the latents' power before tanh: values fill the range without sticking to ±1
)
WEIGHTS = {
    "level": 5.0, "log": 1.0, "mel": 6.0, "adversarial": 1.0, "features": 2.0,
    "semantic": 3.0, "calm": CALM,
}  # fmt: skip
CRITICS_FROM = 0.25  # share of stage `codec` without critics
CRITIC_LR = 3e-4


def new_codec(config: ModelConfig, vectors: NDArray[np.float32]) -> Codec:
    """A codec with fresh weights and the fixed semantic centroids `vectors`."""
    codec = Codec(config.codec, encoder=True)
    codebook = codec.quantizer.semantic_codebook
    with torch.no_grad():
        codebook.embedding_sum.copy_(torch.from_numpy(vectors))
    for module in codec.modules():
        if isinstance(module, CodecLayer):
            nn.init.constant_(module.attention_scale, 0.3)
            nn.init.constant_(module.ffn_scale, 0.3)
    c = config.codec
    assert codec.input_proj is not None
    kernels = fourier_kernels(c.dim, c.patch_size, c.patch_kernel)
    set_kernel(codec.input_proj.conv, kernels)
    # Mirrored in time, a step of the decoder sounds in its own patch and in the six after it.
    set_kernel(codec.output_proj.conv, SYNTHESIS_GAIN * kernels.flip(1).transpose(0, 1))
    return codec


def set_kernel(conv: nn.Module, kernel: Tensor) -> None:
    """Give a weight-normed conv the weights `kernel` [out, in, k]."""
    with torch.no_grad():
        for name, parameter in conv.named_parameters():
            norm = kernel.flatten(1).norm(dim=1).view(-1, 1, 1)
            parameter.copy_(norm if name.endswith("original0") else kernel)


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


class Crops:
    """Random crops of the speech, kept on the device that trains."""

    def __init__(
        self,
        speech: Speech,
        codes: NDArray[np.int16],
        held: NDArray[np.bool_],
        device: str,
        frames: int = CROP,
    ):
        """frames: of a crop."""
        lengths = np.diff(speech.starts)
        able = (lengths >= frames) & ~held
        pool = np.flatnonzero(able[: speech.audible])
        self.device = device
        self.audio = torch.from_numpy(np.array(speech.audio)).to(device)
        self.codes = torch.from_numpy(codes).to(device)
        self.first = torch.from_numpy(np.asarray(speech.starts)[pool]).to(device)
        self.room = torch.from_numpy(lengths[pool] - frames + 1).to(device)
        self.share = (self.room + frames).float()
        self.frames = frames

    def draw(self, count: int) -> tuple[Tensor, Tensor, bool]:
        """(samples [B, n * FRAME], rows of the n frames [B, n], whether utterances start here)."""
        at_start = bool(torch.rand(()) < START_SHARE)
        chosen = torch.multinomial(self.share, count, replacement=True)
        offset = (torch.rand(count, device=self.device) * self.room[chosen]).long()
        first = self.first[chosen] + (0 if at_start else 1) * offset
        rows = first[:, None] + torch.arange(self.frames, device=self.device)
        index = first[:, None] * FRAME + torch.arange(self.frames * FRAME, device=self.device)
        return self.audio[index].float() / 32767, rows, at_start


def coded(codec: Codec, latents: Tensor, codes: Tensor, hard: bool) -> tuple[Tensor, Tensor]:
    """(what the decoder gets [B, D + 36, T], the target of the semantic part [B, D, T]).

    latents: the encoder's [B, D + 36, T]; codes [B, T]: semantic codes of the labels. Half of the
    crops take the label's vector, half the centroid nearest to the encoder's. Acoustic values are
    quantized with a straight-through gradient, or (not `hard`) get noise of the same size, plus noise
    of up to LATENT_NOISE.
    """
    dim, levels = codec.quantizer.semantic_dim, codec.quantizer.levels
    centroids = codec.quantizer.semantic_codebook.centroids()
    wanted = centroids[codes.long()]
    with torch.no_grad():
        distance = torch.cdist(latents[:, :dim].transpose(1, 2), centroids)
        nearest = centroids[distance.argmin(-1)]
        own = torch.rand(len(latents), 1, 1, device=latents.device) < 0.5
        semantic = torch.where(own, nearest, wanted)
    x = latents[:, dim:].tanh()
    step = 2 / (levels - 1)
    if hard:
        rounded = ((x + 1) / step).round() * step - 1
        x = x + (rounded - x).detach()
    else:
        x = x + (torch.rand_like(x) - 0.5) * step
    sigma = torch.rand(len(x), 1, 1, device=x.device) * LATENT_NOISE
    quiet = torch.rand(len(x), 1, 1, device=x.device) < 0.3
    x = x + torch.randn_like(x) * sigma * ~quiet
    return torch.cat([semantic.transpose(1, 2), x], 1), wanted.transpose(1, 2)


def decoder_parts(codec: Codec) -> nn.ModuleDict:
    """The decoder of `codec` under the names that its training states use."""
    return nn.ModuleDict({"decoder_blocks": codec.decoder_blocks, "output_proj": codec.output_proj})


def weighted(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Their sum by weights of the same names."""
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def critic_step(critics: Critics, optimizer: torch.optim.Optimizer, a: Tensor, b: Tensor) -> Tensor:
    """One step of the critics on decoded `a` and recorded `b`."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(a.device.type, dtype=torch.bfloat16):
        loss = critics.judge(a, b)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def pleased(critics: Critics, output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The critics' terms of the codec's loss, in half precision."""
    with torch.autocast(output.device.type, dtype=torch.bfloat16):
        return critics.please(output, target)


def train(
    work: Path, minutes: float, lr: float, batch: int, device: str, *, decoder_only: bool
) -> None:
    """Stage `codec` (resumes from `work`/codec) or `decoder` (begins with that, `work`/decoder)."""
    torch.manual_seed(23 if decoder_only else 17)
    config, speech = ModelConfig.load(work / "params.json"), Speech.load(work / "speech")
    semantics = Semantics.load(work / "semantics.npz")
    held = np.load(work / "held_out.npy")
    codec = new_codec(config, semantics.vectors).to(device)
    critics, loss_of = all_critics().to(device), SpectralLoss().to(device)
    opponent = torch.optim.AdamW(critics.parameters(), CRITIC_LR, betas=(0.8, 0.99))
    name = "decoder" if decoder_only else "codec"
    trained: nn.Module = codec
    if decoder_only:
        codec.load_state_dict(state_of(work / "codec"))
        critics.load_state_dict(torch.load(work / "codec" / "critics.pt", weights_only=True))
        trained = decoder_parts(codec)
    session = Session(work / name, trained, Optimizers(trained, lr), minutes, decay=0.999)
    crops = Crops(speech, semantics.codes, held, device)
    while session.progress < 1:
        samples, rows, at_start = crops.draw(batch)
        codes = crops.codes[rows]
        with torch.set_grad_enabled(not decoder_only):
            latents = codec.encode_latents(samples)
        given, wanted = coded(codec, latents, codes, decoder_only or bool(torch.rand(()) < 0.5))
        output = codec.decode_latents(given)
        skip = 0 if at_start else CONTEXT
        output, target = output[:, skip * FRAME :], samples[:, skip * FRAME :]
        terms = loss_of(output, target)
        if not decoder_only:
            dim = codec.quantizer.semantic_dim
            power = wanted.square().mean()
            terms["semantic"] = F.mse_loss(latents[:, :dim], wanted) / power
            terms["calm"] = latents[:, dim:].square().mean()
        judged = decoder_only or session.progress > CRITICS_FROM
        if judged:
            terms |= pleased(critics, output, target)
        weighted(terms, WEIGHTS).backward()  # type: ignore[no-untyped-call]
        session.step()
        if judged:
            terms["critics"] = critic_step(critics, opponent, output.detach(), target)
        if session.number % 50 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()
    torch.save(critics.state_dict(), work / name / "critics.pt")


def state_of(folder: Path) -> dict[str, Tensor]:
    """The moving average of a stage's weights."""
    average: dict[str, Tensor] = torch.load(folder / "latest.pt", weights_only=True)["average"]
    return average


@torch.inference_mode()
def encode(work: Path, device: str, at_once: int = 6000) -> None:
    """Stage `encode`: the acoustic codes of all speech, uint8 [M, 36], into `work`/codes.npy."""
    config, speech = ModelConfig.load(work / "params.json"), Speech.load(work / "speech")
    codec = new_codec(config, Semantics.load(work / "semantics.npz").vectors).to(device).eval()
    codec.load_state_dict(state_of(work / "codec"))
    lengths = np.diff(speech.starts)
    codes = np.empty((int(speech.starts[-1]), config.codec.acoustic_dim), np.uint8)
    nearest = np.empty(len(codes), np.int16)
    order = np.argsort(lengths, kind="stable")
    position = 0
    while position < len(order):
        size = max(1, at_once // int(lengths[order[min(position + 64, len(order) - 1)]]))
        part = order[position : position + size]
        longest = int(lengths[part].max())
        audio = np.zeros((len(part), longest * FRAME), np.int16)
        for row, u in zip(audio, part, strict=True):
            here = speech.audio[speech.starts[u] * FRAME : speech.starts[u + 1] * FRAME]
            row[: len(here)] = here
        # (causal: what comes after an utterance does not change its codes)
        made = codec.encode(torch.from_numpy(audio).to(device).float() / 32767).cpu().numpy()
        for row, u in zip(made, part, strict=True):
            span = slice(speech.starts[u], speech.starts[u + 1])
            codes[span], nearest[span] = row[: lengths[u], 1:], row[: lengths[u], 0]
        position += size
    labels = Semantics.load(work / "semantics.npz").codes
    print(f"encode: semantic codes as labelled {np.mean(nearest == labels):.3f}", flush=True)
    np.save(work / "codes.npy", codes)
