"""The codec encoder (format C)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.config import CodecConfig
from tests.oracle import codec as decoder
from tests.oracle.codec import Stage
from tests.oracle.flow import quantize
from tests.oracle.layers import Array, Tensors

PREFIX = "audio_tokenizer."


def encoder_stages(codec: CodecConfig) -> list[Stage]:
    """Transformer, then conv; the window starts whole and is halved after each stride-2 conv."""
    stages: list[Stage] = []
    block, window = 0, codec.window
    shapes = zip(codec.encoder_kernels, codec.encoder_strides, codec.encoder_lengths, strict=True)
    for kernel, stride, n_layers in shapes:
        transformer, block = block, block + 1
        conv = None
        if len(stages) == len(codec.encoder_lengths) - 1 or (kernel, stride) != (1, 1):
            conv, block = block, block + 1
        stages.append(Stage(kernel, stride, conv, transformer, n_layers, window))
        window //= stride
    return stages


def patches(samples: Array, size: int) -> Array:
    """[n] -> [ceil(n / size), size]; the end of the last patch is silence."""
    count = -(-len(samples) // size)
    padded = np.concatenate([samples, np.zeros(count * size - len(samples))])
    return padded.reshape(count, size)


def input_pad(x: Array, left: int) -> Array:
    return decoder.pad_reflect(x, left)


def stage_pad(x: Array, kernel: int, stride: int) -> Array:
    """Replicate: kernel - stride on the left, up to a multiple of the stride on the right."""
    return decoder.pad_replicate(x, kernel - stride, -len(x) % stride)


def encode_latents(samples: Array, tensors: Tensors, codec: CodecConfig) -> Array:
    """Samples [n] -> [ceil(n / frame_samples), semantic_dim + n_acoustic], unquantized."""
    x = input_pad(patches(samples, codec.patch_size), codec.patch_kernel - 1)
    x = decoder.convolve(x, decoder.conv_weight(tensors, f"{PREFIX}input_proj."))
    for stage in encoder_stages(codec):
        block = f"{PREFIX}encoder_blocks.{stage.transformer}."
        x = decoder.transformer(x, tensors, block, stage.n_layers, stage.window, codec)
        if stage.conv is not None:
            weight = decoder.conv_weight(tensors, f"{PREFIX}encoder_blocks.{stage.conv}.")
            x = decoder.convolve(stage_pad(x, stage.kernel, stage.stride), weight, stage.stride)
    return x


def nearest(vector: Array, points: Array) -> int:
    """Index of the L2-nearest point."""
    return min(range(len(points)), key=lambda i: float(((vector - points[i]) ** 2).sum()))


def squash(acoustic: Array) -> Array:
    return np.tanh(acoustic)


def encode(samples: Array, tensors: Tensors, codec: CodecConfig) -> NDArray[np.int64]:
    """Samples [n] -> codes without the +2 [F, 1 + n_acoustic]."""
    points = decoder.centroids(tensors)
    frames = []
    for latent in encode_latents(samples, tensors, codec):
        semantic, acoustic = latent[: codec.semantic_dim], latent[codec.semantic_dim :]
        frames.append(
            [nearest(semantic, points), *quantize(squash(acoustic), codec.acoustic_codebook_size)]
        )
    return np.array(frames)
