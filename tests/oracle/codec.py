"""The codec decoder, and what it shares with the encoder (format B.8)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowvox.config import CodecConfig
from tests.oracle import layers
from tests.oracle.layers import Array, Tensors

PREFIX = "audio_tokenizer."
MIN_USAGE = 1e-5


class Stage(NamedTuple):
    """Blocks of one stage (conv: None where kernel and stride are both 1) and its window."""

    kernel: int
    stride: int
    conv: int | None
    transformer: int
    n_layers: int
    window: int


# ---- attention ------------------------------------------------------------------------------


def alibi_slopes(n_heads: int) -> Array:
    """r^h with r = 2^(-8/n); for n no power of two, see the format."""
    power = 2 ** int(math.log2(n_heads))
    slopes = [(2 ** (-8 / power)) ** h for h in range(power)]
    if power != n_heads:
        finer = [(2 ** (-8 / (2 * power))) ** h for h in range(2 * power)]
        slopes = slopes + finer[::2]
    return np.array(slopes[:n_heads])


def look_back(window: int) -> layers.Keys:
    """Keys i-w .. i: the window is inclusive, w + 1 keys."""
    return lambda i, length: range(max(0, i - window), i + 1)


def qk_norm(projected: Array, weight: Array, codec: CodecConfig) -> Array:
    """[T, H * D] -> [T, H, D]: the norm runs over all heads at once, before the split."""
    whole = layers.rms_norm(projected, weight, codec.qk_norm_eps)
    return whole.reshape(len(projected), -1, codec.head_dim)


def layer_scale(branch: Array, scale: Array) -> Array:
    return branch * scale


def transformer(
    x: Array, tensors: Tensors, prefix: str, n_layers: int, window: int, codec: CodecConfig
) -> Array:
    """[T, dim] -> [T, dim] at one rate."""
    slopes = alibi_slopes(codec.n_heads)
    for i in range(n_layers):
        layer = f"{prefix}layers.{i}."
        weights = {name: tensors[f"{layer}attention.{name}.weight"] for name in ATTENTION}
        normed = layers.rms_norm(x, tensors[f"{layer}attention_norm.weight"], codec.norm_eps)
        q = qk_norm(layers.linear(normed, weights["wq"]), weights["q_norm"], codec)
        k = qk_norm(layers.linear(normed, weights["wk"]), weights["k_norm"], codec)
        v = layers.linear(normed, weights["wv"]).reshape(len(x), -1, codec.head_dim)
        context = layers.attention(q, k, v, look_back(window), slopes)
        branch = layers.linear(context, weights["wo"])
        x = x + layer_scale(branch, tensors[f"{layer}attention_scale"])
        normed = layers.rms_norm(x, tensors[f"{layer}ffn_norm.weight"], codec.norm_eps)
        branch = layers.feed_forward(normed, tensors, f"{layer}feed_forward.")
        x = x + layer_scale(branch, tensors[f"{layer}ffn_scale"])
    return x


ATTENTION = ("wq", "wk", "wv", "wo", "q_norm", "k_norm")

# ---- convolutions; signals are [T, channels] --------------------------------------------------


def conv_weight(tensors: Tensors, prefix: str) -> Array:
    """Weight norm: w = g v / ||v||, one norm for each index of dim 0."""
    gain = tensors[f"{prefix}conv.parametrizations.weight.original0"]
    direction = tensors[f"{prefix}conv.parametrizations.weight.original1"]
    slices = [g * v / math.sqrt((v * v).sum()) for g, v in zip(gain, direction, strict=True)]
    return np.array(slices)


def pad_replicate(x: Array, left: int, right: int = 0) -> Array:
    return np.concatenate([x[:1]] * left + [x] + [x[-1:]] * right)


def pad_reflect(x: Array, left: int) -> Array:
    """x[left], .., x[1] before x[0]; shorter signals are zero-extended first, cut back after."""
    length = len(x)
    if length <= left:
        x = np.concatenate([x, np.zeros((left + 1 - length, x.shape[1]))])
    mirrored = [x[i] for i in range(left, 0, -1)]
    return np.array([*mirrored, *x[:length]])


def convolve(x: Array, weight: Array, stride: int = 1) -> Array:
    """No padding. weight [out, in, k]; torch's convention: tap k meets x[t * stride + k]."""
    kernel = weight.shape[2]
    starts = range(0, len(x) - kernel + 1, stride)
    return np.array([sum(weight[:, :, k] @ x[t + k] for k in range(kernel)) for t in starts])


def convolve_transposed(x: Array, weight: Array, stride: int) -> Array:
    """weight [in, out, k]: input t adds tap k to output t * stride + k. All outputs."""
    kernel = weight.shape[2]
    out = np.zeros(((len(x) - 1) * stride + kernel, weight.shape[1]))
    for t in range(len(x)):
        for k in range(kernel):
            out[t * stride + k] += x[t] @ weight[:, :, k]
    return out


def cut(upsampled: Array, length: int) -> Array:
    """Keep the first `length`: what a transposed conv has too much lies on the right."""
    return upsampled[:length]


# ---- the decoder ------------------------------------------------------------------------------


def decoder_stages(codec: CodecConfig) -> list[Stage]:
    """Conv, then transformer; the window is the whole one at the highest rate, halved downwards."""
    stages, block, shrink = [], 0, math.prod(codec.decoder_strides)
    shapes = zip(codec.decoder_kernels, codec.decoder_strides, codec.decoder_lengths, strict=True)
    for kernel, stride, n_layers in shapes:
        conv = None
        if not stages or (kernel, stride) != (1, 1):
            conv, block = block, block + 1
        shrink //= stride
        stages.append(Stage(kernel, stride, conv, block, n_layers, codec.window // shrink))
        block += 1
    return stages


def centroids(tensors: Tensors) -> Array:
    usage = tensors[f"{PREFIX}quantizer.semantic_codebook.cluster_usage"]
    sums = tensors[f"{PREFIX}quantizer.semantic_codebook.embedding_sum"]
    return np.array([s / max(u, MIN_USAGE) for s, u in zip(sums, usage, strict=True)])


def acoustic_scalars(codes: NDArray[np.int64], levels: int) -> Array:
    return codes * 2 / (levels - 1) - 1


def latents(codes: NDArray[np.int64], tensors: Tensors, codec: CodecConfig) -> Array:
    """Codes without the +2 [F, 1 + n] -> [F, semantic_dim + n]."""
    semantic = centroids(tensors)[codes[:, 0]]
    acoustic = acoustic_scalars(codes[:, 1:], codec.acoustic_codebook_size)
    return np.concatenate([semantic, acoustic], axis=1)


def input_pad(x: Array, left: int) -> Array:
    return pad_replicate(x, left)


def output_pad(x: Array, left: int) -> Array:
    return pad_reflect(x, left)


def unpatch(patches: Array) -> Array:
    """[T, patch] -> samples: channel c of step t is sample t * patch + c."""
    return np.concatenate(list(patches))


def decode(codes: NDArray[np.int64], tensors: Tensors, codec: CodecConfig) -> Array:
    """Codes without the +2 [F, 1 + n] -> samples [F * frame_samples]."""
    x = latents(codes, tensors, codec)
    for stage in decoder_stages(codec):
        if stage.conv is not None:
            weight = conv_weight(tensors, f"{PREFIX}decoder_blocks.{stage.conv}.")
            if stage.stride == 1:
                x = convolve(input_pad(x, stage.kernel - 1), weight)
            else:
                x = cut(convolve_transposed(x, weight, stage.stride), len(x) * stage.stride)
        block = f"{PREFIX}decoder_blocks.{stage.transformer}."
        x = transformer(x, tensors, block, stage.n_layers, stage.window, codec)
    weight = conv_weight(tensors, f"{PREFIX}output_proj.")
    return unpatch(convolve(output_pad(x, codec.patch_kernel - 1), weight))
