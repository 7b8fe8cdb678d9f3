"""The codec encoder graph: samples of a whole utterance -> codes (format C)."""

from __future__ import annotations

import numpy as np

from flowvox.config import CodecStage, ModelConfig
from flowvox.exporters.onnx.builder import GraphBuilder
from flowvox.exporters.onnx.codec_layers import attention_window, codec_layer
from flowvox.tensors import CODEC


def build_codec_encoder(g: GraphBuilder, config: ModelConfig) -> None:
    """Add every node of `flowvox.graphs.codec_encoder_graph`."""
    codec = config.codec
    patches = g.op("Reshape", "samples", g.constant([1, -1, codec.patch_size]))
    x = g.op("Transpose", patches, perm=[0, 2, 1])
    left = g.constant([0, 0, codec.patch_kernel - 1, 0, 0, 0])
    padded = g.op("Pad", x, left, mode="reflect")
    x = g.op("Conv", padded, g.folded_convolution(f"{CODEC}input_proj."))
    for stage in codec.encoder_stages:
        x = g.op("Transpose", x, perm=[0, 2, 1])
        window = attention_window(g, x, codec, stage.window, position=None)
        for i in range(stage.n_layers):
            prefix = f"{CODEC}encoder_blocks.{stage.transformer_block}.layers.{i}."
            x, _ = codec_layer(g, x, prefix, codec, window)
        x = g.op("Transpose", x, perm=[0, 2, 1])
        if stage.conv_block is not None:
            x = _strided_conv(g, x, stage)
    g.rename(_quantized(g, config, g.op("Transpose", x, perm=[0, 2, 1])), "codes")


def _strided_conv(g: GraphBuilder, x: str, stage: CodecStage) -> str:
    """Replicate-padded by kernel - stride on the left and to a multiple of stride on the right."""
    length = g.op("Gather", g.op("Shape", x), g.constant([2]))
    stride = g.constant([stage.stride])
    right = g.op("Mod", g.op("Sub", stride, g.op("Mod", length, stride)), stride)
    before = g.constant([0, 0, stage.kernel - stage.stride, 0, 0])
    padded = g.op("Pad", x, g.op("Concat", before, right, axis=0), mode="edge")
    weight = g.folded_convolution(f"{CODEC}encoder_blocks.{stage.conv_block}.")
    return g.op("Conv", padded, weight, strides=[stage.stride])


def _quantized(g: GraphBuilder, config: ModelConfig, latents: str) -> str:
    """latents [1, F, latent_dim] -> codes [1, F, 1 + n]."""
    codec = config.codec
    codebook = f"{CODEC}quantizer.semantic_codebook."
    usage = g.weights.raw(f"{codebook}cluster_usage").values
    total = g.weights.raw(f"{codebook}embedding_sum").values
    centroids = total / np.maximum(usage, np.float32(1e-5))[:, None]
    sizes = g.constant([codec.semantic_dim, codec.acoustic_dim])
    semantic, acoustic = g.ops("Split", latents, sizes, outputs=2, axis=2)
    # |s - c|^2 = |s|^2 - 2 (s.c - |c|^2 / 2): the nearest centroid has the largest bracket.
    transposed = g.store(f"{codebook}centroids", np.ascontiguousarray(centroids.T))
    half = g.store(f"{codebook}half_norms", ((centroids**2).sum(axis=1) / 2).astype(np.float32))
    scores = g.op("Sub", g.op("MatMul", semantic, transposed), half)
    nearest = g.op("ArgMax", scores, axis=2, keepdims=1)
    levels = float(codec.acoustic_codebook_size - 1)
    unit = g.op("Div", g.op("Add", g.op("Tanh", acoustic), g.constant(1.0)), g.constant(2.0))
    rounded = g.op("Round", g.op("Mul", unit, g.constant(levels)))
    return g.op("Concat", nearest, g.op("Cast", rounded, to=7), axis=2)
