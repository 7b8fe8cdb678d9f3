"""The decoder's later stages before any training: weights that are computed, not learned.

The waveform is excitation x gains, and the excitation one of twenty frames. From the first stage, as
front.py taught it, the log gains and the pitch can be read linearly. A SwiGLU feed-forward multiplies,
and a transposed convolution with a stride of 2 tells even steps from odd ones, so the rest of the
decoder can be written down. Per stage the stream holds:

    25 Hz    components of the half frame's log gains; which half it is; its pitch, made a one-hot
    50 Hz    components of two subframes' log gains; which quarter it is; pitch one-hot, per quarter
    100 Hz   coefficients of a lapped transform; components of the log gains; the place in the frame

The coefficients begin as the excitation's. Layers 1 to 3 multiply them, in place, by the harmonic
gains; layer 4 adds noise x gains. A window covers a step's patch and the one before, so the decoder's
output is LATE samples late. Attention and the units that are left add nothing yet.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from flowvox.reference.codec import Codec
from flowvox.reference.codec_layers import CodecLayer, CodecTransformer
from flowvox.reference.layers import FeedForward
from flowvox.reference.training.codec import set_kernel
from flowvox.reference.training.locked.codes import LEVELS
from flowvox.reference.training.locked.features import (
    HARMONIC_BANDS,
    NOISE_BANDS,
    SUBFRAMES,
    mel_hats,
)
from flowvox.reference.training.locked.front import Front
from flowvox.reference.training.locked.gains import LIFT, GainCurves
from flowvox.reference.training.locked.sounds import Sounds
from flowvox.reference.training.locked.synth import FRAME, RATE

PATCH = FRAME // SUBFRAMES
LATE = PATCH
BANDS = HARMONIC_BANDS + NOISE_BANDS
PITCHES = LEVELS - 1  # levels 1 to 20; level 0 does not occur
EXACT, GROUPS = 100, 36  # coefficients that are a bin each; coefficients that share the bins above
COEFFICIENTS = EXACT + GROUPS
ONE = 60.0  # how large a constant 1 is in the stream: it keeps the norm of every step nearly equal
FAINT = 0.1  # scale of the log gains' components at 25 Hz
CALM = 0.15  # and later on
HOT = 4.0  # how large a pitch one-hot is in the stream
SURE = 20.0  # a gate of this size is open
STEEP, OFF, ON = 100.0, 0.2, 0.45  # slope of the hinges that sharpen it; below is 0, above is 1


def transform() -> tuple[Tensor, Tensor, Tensor]:
    """(analysis, synthesis [2 * PATCH, C], centre frequency [C]) of the lapped transform (MDCT).

    Above the bins that are exact, neighbours share one coefficient that has their energy.
    """
    t, k = np.arange(2 * PATCH)[:, None] + 0.5, np.arange(PATCH) + 0.5
    window = np.sin(np.pi * t / (2 * PATCH)) * np.sqrt(2 / PATCH)
    bins = window * np.cos(np.pi / PATCH * (t + PATCH / 2) * k)
    signs = np.random.default_rng(5).choice([-1.0, 1.0], PATCH)
    analysis, synthesis = [*bins.T[:EXACT]], [*bins.T[:EXACT]]
    centres = [*k[:EXACT]]
    for group in np.array_split(np.arange(EXACT, PATCH), GROUPS):
        shared = bins[:, group] @ signs[group]
        analysis.append(shared)
        synthesis.append(shared / len(group))
        centres.append(k[group].mean())
    frequency = np.array(centres) * RATE / (2 * PATCH)
    made = (np.stack(analysis, 1), np.stack(synthesis, 1), frequency)
    a, s, f = (torch.from_numpy(x).float() for x in made)
    return a, s, f


class Layout:
    """Where the streams of a decoder of this width hold what."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.hot = dim - 2 * PITCHES  # at 25 Hz: one-hots of both halves; before them
        self.raw = self.hot - PITCHES  # the pitch as the front tells it
        self.half = self.raw - 2  # and a constant that is in one of two dimensions, nearly ONE
        self.of_half = self.sure = self.half - 2  # the same, exactly; number of components
        self.hot_quarter = dim - 4 * PITCHES  # at 50 Hz
        self.of_pair = self.quarter = self.hot_quarter - 4  # the constant, in one of four
        self.place = dim - SUBFRAMES  # at 100 Hz
        self.log_gains = slice(COEFFICIENTS, self.place)

    def scales(self) -> list[Tensor]:
        """Of 25, 50 and 100 Hz, [dim]: what makes all that a stream holds about 1."""
        half, quarter, patch = torch.ones(3, self.dim)
        half[: self.of_half] = 1 / (2 * FAINT)
        half[self.sure : self.raw] = 1 / ONE
        half[self.hot :] = 1 / HOT
        quarter[: self.of_pair] = 1 / (2 * CALM)
        quarter[self.quarter : self.hot_quarter] = 1 / ONE
        quarter[self.hot_quarter :] = 1 / HOT
        patch[:COEFFICIENTS] = 5
        patch[self.log_gains] = 1 / (2 * CALM)
        patch[self.place :] = 1 / ONE
        return [half, quarter, patch]


class Units:
    """Fills the units of a feed-forward one after the other; the others, and attention, are silent yet.

    scale [dim]: makes all that is in the stream about 1, or training steps would be too large for some
    of it.
    """

    def __init__(self, layer: CodecLayer, scale: Tensor) -> None:
        self.ffn: FeedForward = layer.feed_forward
        self.scale = scale
        for norm in (layer.ffn_norm, layer.attention_norm):
            norm.weight.copy_(scale * math.sqrt(ONE**2 / len(scale) + norm.eps))
        self.used = 0
        for matrix in (self.ffn.w2.weight, layer.attention.wo.weight):
            nn.init.zeros_(matrix)
        for ones in (layer.ffn_scale, layer.attention_scale):
            nn.init.ones_(ones)

    def add(self, gate: Tensor, value: Tensor, out: Tensor) -> None:
        """silu(gate . x) (value . x) is added times `out`; gate, value, out: [n, dim]."""
        here = slice(self.used, self.used + len(gate))
        self.used += len(gate)
        if self.used > self.ffn.w1.out_features:
            raise ValueError(f"{self.used} units in a feed-forward of {self.ffn.w1.out_features}")
        self.ffn.w1.weight[here] = gate / self.scale
        self.ffn.w3.weight[here] = value / self.scale
        self.ffn.w2.weight[:, here] = out.T


@torch.no_grad()
def construct(codec: Codec, front: Front, heard: Tensor, sounds: Sounds) -> None:
    """Give the stages after the front's, and the output, of `codec` their first weights.

    front: the taught one; heard [N, dim]: its stream in frames of speech.
    """
    at = Layout(codec.config.dim)
    convs: list[nn.Module] = []
    units: list[list[Units]] = []
    for block in list(codec.decoder_blocks)[2:]:
        if isinstance(block, CodecTransformer):
            scale = at.scales()[len(units)]
            layers = [layer for layer in block.layers if isinstance(layer, CodecLayer)]
            units.append([Units(layer, scale) for layer in layers])
        else:
            convs.append(block)
    levels = Levels(front, heard)
    half, pair = levels.components(2, at.of_half), levels.components(4, at.of_pair)
    basis = levels.components(SUBFRAMES, at.place - COEFFICIENTS)
    _set(convs[0], _halves(at, front, heard, levels, half))
    _make_one_hot(at, units[0][0])
    _set(convs[1], _quarters(at, levels, half, pair))
    _set(convs[2], _patches(at, sounds, pair, basis))
    _shape(at, units[2], sounds, levels.mean, basis)
    _, synthesis, _ = transform()
    kernel = torch.zeros(PATCH, at.dim, codec.config.patch_kernel)
    kernel[:, :COEFFICIENTS, -1] = synthesis[:PATCH]
    kernel[:, :COEFFICIENTS, -2] = synthesis[PATCH:]
    set_kernel(codec.output_proj.conv, kernel)


class Levels:
    """The log gains that `front` tells, and how they spread in the steps `heard` [N, dim]."""

    def __init__(self, front: Front, heard: Tensor) -> None:
        self.weight, self.bias = front.envelope.weight, front.envelope.bias
        centre = heard.mean(0)
        self.spread = (heard - centre).T @ (heard - centre) / len(heard)
        typical = (self.weight @ centre + self.bias).view(SUBFRAMES, BANDS)
        self.mean = typical.mean(0)  # [BANDS]
        self.typical = (typical - self.mean).flatten()

    def components(self, parts: int, count: int) -> Tensor:
        """[BANDS * SUBFRAMES / parts, count]: principal ones, whichever part of the frame it is."""
        maps = self.weight.view(parts, -1, self.weight.shape[1])
        typical = self.typical.view(parts, -1)
        spread = (maps @ self.spread @ maps.mT).sum(0) + typical.T @ typical
        return torch.linalg.eigh(spread).eigenvectors[:, -count:]


def _halves(at: Layout, front: Front, heard: Tensor, levels: Levels, half: Tensor) -> Tensor:
    """12.5 -> 25 Hz: components, which half, pitch. The front has no constant, but nearly."""
    constant = torch.linalg.lstsq(heard, torch.ones(len(heard), 1)).solution[:, 0]
    pitch = (front.pitch.weight + front.pitch.bias[:, None] * constant)[1:]
    kernel = torch.zeros(at.dim, at.dim, 4)
    for h, weight in enumerate(levels.weight.view(2, -1, at.dim)):
        kernel[:, : at.of_half, h] = FAINT * (half.T @ weight).T
        kernel[:, at.half + h, h] = ONE * constant
        kernel[:, at.raw : at.hot, h] = pitch.T
    return kernel


def _make_one_hot(at: Layout, layer: Units) -> None:
    """The norm makes the constant exact. Each level: the difference of hinges at OFF and at ON."""
    eye = torch.eye(at.dim)
    one = eye[at.half : at.raw].sum(0) / ONE
    for h in range(2):
        here, hot = eye[at.half + h] / ONE, eye[at.hot + h * PITCHES :][:PITCHES]
        layer.add(SURE * here[None], here[None], ONE / SURE * eye[at.sure + h][None])
        for knot, sign in ((OFF, 1), (ON, -1)):
            gate = STEEP * (eye[at.raw : at.hot] + here - (1 + knot) * one)
            out = sign * HOT / (STEEP * (ON - OFF)) * hot
            layer.add(gate, here.expand(PITCHES, at.dim), out)


def _quarters(at: Layout, levels: Levels, half: Tensor, pair: Tensor) -> Tensor:
    """25 -> 50 Hz: components of two subframes, with what is constant in them | one-hot per quarter."""
    constant = (levels.bias.view(SUBFRAMES, BANDS) - levels.mean).view(4, 2 * BANDS)
    parts = half.view(2, 2 * BANDS, at.of_half)
    kernel = torch.zeros(at.dim, at.dim, 4)
    for q in range(4):
        h, odd = divmod(q, 2)
        kernel[: at.of_half, : at.of_pair, odd] = CALM / FAINT * (pair.T @ parts[odd]).T
        hot, here = at.hot + h * PITCHES, at.hot_quarter + q * PITCHES
        kernel[at.sure + h, : at.of_pair, odd] = CALM / ONE * (pair.T @ constant[q])
        kernel[at.sure + h, at.quarter + q, odd] = 1
        kernel[hot : hot + PITCHES, here : here + PITCHES, odd] = torch.eye(PITCHES)
    return kernel


def _patches(at: Layout, sounds: Sounds, pair: Tensor, basis: Tensor) -> Tensor:
    """50 -> 100 Hz: coefficients of the excitation | components of the log gains | place.

    A window's first half is the patch before: at the frame's first place, that of the frame before.
    """
    analysis, _, _ = transform()
    patches = torch.from_numpy(sounds.excitations).view(-1, SUBFRAMES, PATCH) * LIFT
    as_second = patches @ analysis[PATCH:] / HOT  # [pitch, place, C]
    as_first = patches @ analysis[:PATCH] / HOT
    kernel = torch.zeros(at.dim, at.dim, 4)
    one, two = pair[:BANDS].T @ basis / 2, pair[BANDS:].T @ basis / 2
    kernel[: at.of_pair, at.log_gains, 0], kernel[: at.of_pair, at.log_gains, 2] = one, two
    kernel[: at.of_pair, at.log_gains, 1] = one + two
    for q in range(4):
        start, even, odd = at.hot_quarter + q * PITCHES, 2 * q, 2 * q + 1
        hot = slice(start, start + PITCHES)
        kernel[hot, :COEFFICIENTS, 0] = as_second[:, even]
        if q:
            kernel[hot, :COEFFICIENTS, 0] += as_first[:, even - 1]
        kernel[hot, :COEFFICIENTS, 1] = as_second[:, odd] + as_first[:, even]
        kernel[at.quarter + q, at.place + even, 0] = 1
        kernel[at.quarter + q, at.place + odd, 1] = 1
    kernel[at.hot_quarter + 3 * PITCHES :, :COEFFICIENTS, 2] = as_first[:, -1]
    return kernel


def _shape(at: Layout, layers: list[Units], sounds: Sounds, mean: Tensor, basis: Tensor) -> None:
    """100 Hz: coefficients times harmonic gains in place, then noise times its gains."""
    analysis, _, frequency = transform()
    curves, eye = GainCurves.fit(), torch.eye(at.dim)
    own, place = eye[:COEFFICIENTS], eye[at.place :]
    one = place.sum(0) / ONE
    patches = torch.from_numpy(sounds.noise).view(SUBFRAMES, PATCH)
    noise = (torch.cat([patches.roll(1, 0), patches], 1) @ analysis).T @ place / ONE  # [C, dim]

    def log_gain(bands: slice) -> Tensor:
        """[C, dim]: reads the log gain at every coefficient's frequency from the stream."""
        rough = torch.from_numpy(mel_hats(frequency.numpy(), bands.stop - bands.start))
        read = (rough @ mean[bands])[:, None] * one
        read[:, at.log_gains] += rough @ basis[bands] / CALM
        return read

    def add(layer: Units, hinges: Tensor, log: Tensor, value: Tensor) -> None:
        for slope, threshold, weight in hinges.tolist():
            layer.add(slope * log + threshold * one, value, weight * own)

    for layer, hinges in zip(layers, curves.harmonic, strict=False):
        add(layer, hinges, log_gain(slice(0, HARMONIC_BANDS)), own)
    add(layers[-1], curves.noise, log_gain(slice(HARMONIC_BANDS, BANDS)), noise)


def _set(block: nn.Module, kernel: Tensor) -> None:
    """Weight norm divides by the length of each of a kernel's first rows: none may be 0."""
    conv = block.conv
    assert isinstance(conv, nn.Module)
    set_kernel(conv, kernel + 1e-5 * torch.randn_like(kernel))
