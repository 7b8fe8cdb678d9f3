"""The decoder's later stages before any training: weights that are computed, not learned.

The waveform is excitation x gains, and the excitation of a block is one of 80 that move or two
halves of 20 that stay. From the first stage, as front.py taught it, the log gains and the pitch can
be read linearly. A SwiGLU feed-forward multiplies, and a transposed convolution with a stride of 2
tells even steps from odd ones, so the rest of the decoder can be written down. What a frame's codes
bring is the block from the middle of the frame before to the middle of this one (glides.py). Per
stage the stream holds:

    25 Hz    components of the half block's log gains; which half it is; pitches of both frames;
             pitch one-hot, per half; the pair of pitches, if the pitch moves
    50 Hz    components of two subframes' log gains; which quarter it is; pitch one-hot, per quarter;
             the pair
    100 Hz   coefficients of a lapped transform; components of the log gains; which eighth it is;
             the pair

The coefficients begin as those of a pitch that steps between the frames. Layer 1 adds, where the
pitch moves, what that differs by. Layers 2 to 4 multiply them, in place, by the harmonic gains;
layer 5 adds noise x gains. The decoder's output is LATE samples late: half a block, and half of
what a window is longer than a patch. Attention and the units that are left add nothing yet.
"""

from __future__ import annotations

import math

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
from flowvox.reference.training.locked.glides import MIN_CYCLES, PAIRS
from flowvox.reference.training.locked.lapped import COEFFICIENTS, LAPS, PATCH, transform
from flowvox.reference.training.locked.sounds import Sounds
from flowvox.reference.training.locked.synth import FRAME

LATE = FRAME // 2 + (LAPS - 1) * PATCH // 2
BANDS = HARMONIC_BANDS + NOISE_BANDS
PITCHES = LEVELS - 1  # levels 1 to 20; level 0 does not occur
# Where a moving pitch is heard: not next to a frame's middle. 6 x 80 of a layer's 512 units.
PLACES = range(1, SUBFRAMES - 1)
ONE = 60.0  # how large a constant 1 is in the stream: it keeps the norm of every step nearly equal
FAINT = 0.1  # scale of the log gains' components at 25 Hz
CALM = 0.15  # and later on
SOFT = 0.2  # scale of the coefficients: loud ones would change the norm
HOT = 4.0  # how large a pitch one-hot, and the code of a pair, is in the stream
SURE = 20.0  # a gate of this size is open
STEEP, OFF, ON = 100.0, 0.2, 0.45  # slope of the hinges that sharpen it; below is 0, above is 1
PAIR_OFF, PAIR_ON = 1.5, 1.75  # the same of two pitches' sum


def pair_codes() -> Tensor:
    """[PAIRS, 7]: directions at least 60 degrees apart, (+-e_i +- e_j) / sqrt 2, the roots of D7."""
    eye = torch.eye(7)
    roots = [
        (a * eye[i] + b * eye[j]) / 2**0.5
        for i in range(7)
        for j in range(i)
        for a in (1, -1)
        for b in (1, -1)
    ]
    return torch.stack(roots[: len(PAIRS)])


class Layout:
    """Where the streams of a decoder of this width hold what."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.codes = pair_codes()  # what the last dimensions of every stream, `pair`, hold
        self.pair = slice(dim - self.codes.shape[1], dim)
        self.hot = self.pair.start - 2 * PITCHES  # at 25 Hz: one-hots of both halves; before them
        self.after = self.hot - PITCHES  # the pitch of this frame, as the front tells it
        self.before = self.after - PITCHES  # and of the frame before
        self.half = self.before - 2  # and a constant that is in one of two dimensions, nearly ONE
        self.of_half = self.sure = self.half - 2  # the same, exactly; number of components
        self.hot_quarter = self.pair.start - 4 * PITCHES  # at 50 Hz
        self.of_quarter = self.quarter = self.hot_quarter - 4  # the constant, in one of four
        self.place = self.pair.start - SUBFRAMES  # at 100 Hz
        self.log_gains = slice(COEFFICIENTS, self.place)

    def scales(self) -> list[Tensor]:
        """Of 25, 50 and 100 Hz, [dim]: what makes all that a stream holds about 1."""
        half, quarter, patch = torch.ones(3, self.dim)
        half[: self.of_half] = 1 / (2 * FAINT)
        half[self.sure : self.before] = 1 / ONE
        half[self.hot :] = 1 / HOT
        quarter[: self.of_quarter] = 1 / (2 * CALM)
        quarter[self.quarter : self.hot_quarter] = 1 / ONE
        quarter[self.hot_quarter :] = 1 / HOT
        patch[:COEFFICIENTS] = 1 / SOFT
        patch[self.log_gains] = 1 / (2 * CALM)
        patch[self.place :] = 1 / ONE
        patch[self.pair] = 1 / HOT
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
def construct(codec: Codec, front: Front, heard: Tensor, sounds: Sounds) -> list[Units]:
    """Give the stages after the front's, and the output, of `codec` their first weights.

    front: the taught one; heard [N, dim]: its stream in frames of speech. Returns what was filled of
    their feed-forwards.
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
    half, quarter = levels.components(2, at.of_half), levels.components(4, at.of_quarter)
    basis = levels.components(SUBFRAMES, at.place - COEFFICIENTS)
    _set(convs[0], _halves(at, front, levels, half))
    _know_pitches(at, units[0][0])
    _set(convs[1], _quarters(at, levels, half, quarter))
    _set(convs[2], _patches(at, sounds, quarter, basis))
    _move(at, units[2][0], sounds)
    _shape(at, units[2][1:], sounds, levels.mean, basis)
    _, synthesis, _ = transform()
    kernel = torch.zeros(PATCH, at.dim, codec.config.patch_kernel)
    for lap, part in enumerate(synthesis.view(LAPS, PATCH, COEFFICIENTS)):
        kernel[:, :COEFFICIENTS, -1 - lap] = part / SOFT
    set_kernel(codec.output_proj.conv, kernel)
    return [layer for stage in units for layer in stage]


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
        """[BANDS * SUBFRAMES / parts, count]: principal ones, whichever part of the block it is."""
        maps = self.weight.view(parts, -1, self.weight.shape[1])
        typical = self.typical.view(parts, -1)
        spread = (maps @ self.spread @ maps.mT).sum(0) + typical.T @ typical
        return torch.linalg.eigh(spread).eigenvectors[:, -count:]


def _halves(at: Layout, front: Front, levels: Levels, half: Tensor) -> Tensor:
    """12.5 -> 25 Hz: components, which half of the block, pitches. The constant is nearly one.

    A kernel's places 0 and 1 read this frame in even and odd steps, 2 and 3 the one before.
    """
    constant, pitch = front.pitch.weight[0], front.pitch.weight[1:]
    kernel = torch.zeros(at.dim, at.dim, 4)
    for h, weight in enumerate(levels.weight.view(2, -1, at.dim)):
        kernel[:, : at.of_half, h] = FAINT * (half.T @ weight).T
        kernel[:, at.half + h, h] = ONE * constant
        kernel[:, at.after : at.hot, h] = pitch.T
        kernel[:, at.before : at.after, 2 + h] = pitch.T
    return kernel


def _know_pitches(at: Layout, layer: Units) -> None:
    """The norm makes the constant exact. Each level or pair: the difference of two hinges."""
    eye = torch.eye(at.dim)
    one = eye[at.half : at.before].sum(0) / ONE
    before, after = eye[at.before : at.after], eye[at.after : at.hot]

    def add(sums: Tensor, off: float, on: float, here: Tensor, out: Tensor) -> None:
        for knot, sign in ((off, 1), (on, -1)):
            gate = STEEP * (sums + here - (1 + knot) * one)
            layer.add(gate, here.expand_as(gate), sign * HOT / (STEEP * (on - off)) * out)

    for h, pitch in enumerate((before, after)):
        here, hot = eye[at.half + h] / ONE, eye[at.hot + h * PITCHES :][:PITCHES]
        layer.add(SURE * here[None], here[None], ONE / SURE * eye[at.sure + h][None])
        add(pitch, OFF, ON, here, hot)
    first, second = (torch.tensor(column) - MIN_CYCLES for column in zip(*PAIRS, strict=True))
    codes = at.codes @ eye[at.pair]
    add(before[first] + after[second], PAIR_OFF, PAIR_ON, one, codes)


def _quarters(at: Layout, levels: Levels, half: Tensor, quarter: Tensor) -> Tensor:
    """25 -> 50 Hz: components of two subframes, with what is constant in them | one-hot per quarter |
    pair."""
    constant = (levels.bias.view(SUBFRAMES, BANDS) - levels.mean).view(4, 2 * BANDS)
    parts = half.view(2, 2 * BANDS, at.of_half)
    kernel = torch.zeros(at.dim, at.dim, 4)
    for q in range(4):
        h, odd = divmod(q, 2)
        kernel[: at.of_half, : at.of_quarter, odd] = CALM / FAINT * (quarter.T @ parts[odd]).T
        hot, here = at.hot + h * PITCHES, at.hot_quarter + q * PITCHES
        kernel[at.sure + h, : at.of_quarter, odd] = CALM / ONE * (quarter.T @ constant[q])
        kernel[at.sure + h, at.quarter + q, odd] = 1
        kernel[hot : hot + PITCHES, here : here + PITCHES, odd] = torch.eye(PITCHES)
        kernel[at.pair, at.pair, odd] = torch.eye(len(at.codes.T))
    return kernel


def _patches(at: Layout, sounds: Sounds, quarter: Tensor, basis: Tensor) -> Tensor:
    """50 -> 100 Hz: coefficients of a steady pitch | components of the log gains | place | pair."""
    analysis, _, _ = transform()
    steady = SOFT * LIFT / HOT * torch.from_numpy(sounds.steady) @ analysis  # [pitch, place, C]
    parts = quarter.view(2, BANDS, at.of_quarter)
    kernel = torch.zeros(at.dim, at.dim, 4)
    for odd in range(2):
        kernel[: at.of_quarter, at.log_gains, odd] = parts[odd].T @ basis
        kernel[at.pair, at.pair, odd] = torch.eye(len(at.codes.T))
        for q in range(4):
            start, place = at.hot_quarter + q * PITCHES, 2 * q + odd
            kernel[start : start + PITCHES, :COEFFICIENTS, odd] = steady[:, place]
            kernel[at.quarter + q, at.place + place, odd] = 1
    return kernel


def _move(at: Layout, layer: Units, sounds: Sounds) -> None:
    """100 Hz: where the pitch moves, what the coefficients differ by from one that steps."""
    analysis, _, _ = transform()
    eye = torch.eye(at.dim)
    one = eye[at.place : at.pair.start].sum(0) / ONE
    for place in PLACES:
        own = [pair[2 * place // SUBFRAMES] - MIN_CYCLES for pair in PAIRS]
        wave = torch.from_numpy(sounds.moving[:, place] - sounds.steady[own, place])
        here = eye[at.place + place] / ONE
        # At its own place and pair 2; at most 1.5 elsewhere.
        gate = 4 * SURE * (here + at.codes @ eye[at.pair] / HOT - 1.75 * one)
        coefficients = SOFT * LIFT / SURE * wave @ analysis
        layer.add(gate, here.expand_as(gate), coefficients @ eye[:COEFFICIENTS])


def _shape(at: Layout, layers: list[Units], sounds: Sounds, mean: Tensor, basis: Tensor) -> None:
    """100 Hz: coefficients times harmonic gains in place, then noise times its gains."""
    analysis, _, frequency = transform()
    curves, eye = GainCurves.fit(), torch.eye(at.dim)
    own, place = eye[:COEFFICIENTS], eye[at.place : at.pair.start]
    one = place.sum(0) / ONE
    noise = SOFT / ONE * (torch.from_numpy(sounds.noise) @ analysis).T @ place  # [C, dim]

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
