"""The codec decoder graph: codes and state -> samples and state, exact for any chunking (B.8)."""

from __future__ import annotations

import numpy as np

from flowvox.config import CodecStage, ModelConfig
from flowvox.exporters.onnx.builder import GraphBuilder
from flowvox.exporters.onnx.codec_layers import attention_window, codec_layer, last_steps
from flowvox.tensors import CODEC

USAGE_FLOOR = 1e-5


def build_codec_decoder(g: GraphBuilder, config: ModelConfig) -> None:
    """Add every node of `flowvox.graphs.codec_decoder_graph`."""
    codec = config.codec
    first = g.op("Equal", "position", g.constant([0]))
    x = g.op("Transpose", _latents(g, config), perm=[0, 2, 1])
    rate = 1
    for stage in codec.decoder_stages:
        rate *= stage.stride
        if stage.conv_block is not None:
            convolve = _causal_conv if stage.stride == 1 else _transposed_conv
            x = convolve(g, x, first, stage)
        steps = g.op("Mul", "position", g.constant([rate]))
        x = g.op("Transpose", x, perm=[0, 2, 1])
        window = attention_window(g, x, codec, stage.window, steps)
        block = stage.transformer_block
        for i in range(stage.n_layers):
            prefix = f"{CODEC}decoder_blocks.{block}.layers.{i}."
            state = (f"state.{block}.{i}.key", f"state.{block}.{i}.value")
            x, (keys, values) = codec_layer(g, x, prefix, codec, window, state)
            g.rename(last_steps(g, keys, stage.window, axis=2), f"next.{block}.{i}.key")
            g.rename(last_steps(g, values, stage.window, axis=2), f"next.{block}.{i}.value")
        x = g.op("Transpose", x, perm=[0, 2, 1])
    tail = codec.patch_kernel - 1
    mirrored = g.op("Gather", x, g.constant(list(range(tail, 0, -1))), axis=2)
    padded = g.op("Concat", g.op("Where", first, mirrored, "state.output"), x, axis=2)
    g.rename(last_steps(g, padded, tail, axis=2), "next.output")
    patches = g.op("Conv", padded, g.folded_convolution(f"{CODEC}output_proj."))
    samples = g.op("Transpose", patches, perm=[0, 2, 1])
    g.rename(g.op("Reshape", samples, g.constant([1, -1])), "samples")


def _latents(g: GraphBuilder, config: ModelConfig) -> str:
    """codes [1, F, 1 + n] -> [1, F, latent_dim]: semantic centroid beside the acoustic scalars."""
    codebook = f"{CODEC}quantizer.semantic_codebook."
    usage = g.weights.raw(f"{codebook}cluster_usage").values
    total = g.weights.raw(f"{codebook}embedding_sum").values
    centroids = total / np.maximum(usage, np.float32(USAGE_FLOOR))[:, None]
    sizes = g.constant([1, config.codec.acoustic_dim])
    semantic, acoustic = g.ops("Split", "codes", sizes, outputs=2, axis=2)
    index = g.op("Squeeze", semantic, g.constant([2]))
    vectors = g.op("Gather", g.store(f"{codebook}centroids", centroids), index, axis=0)
    levels = config.codec.acoustic_codebook_size
    # c * 2 / (levels - 1) - 1 in this order: c * 0.1 - 1 differs by an ulp.
    doubled = g.op("Mul", g.op("Cast", acoustic, to=1), g.constant(2.0))
    scalars = g.op("Sub", g.op("Div", doubled, g.constant(float(levels - 1))), g.constant(1.0))
    return g.op("Concat", vectors, scalars, axis=2)


def _causal_conv(g: GraphBuilder, x: str, first: str, stage: CodecStage) -> str:
    """Stride 1; an utterance starts with its first step repeated (replicate padding)."""
    name = f"{stage.conv_block}.conv"
    tail = stage.kernel - 1
    repeated = g.op("Gather", x, g.constant([0] * tail), axis=2)
    padded = g.op("Concat", g.op("Where", first, repeated, f"state.{name}"), x, axis=2)
    g.rename(last_steps(g, padded, tail, axis=2), f"next.{name}")
    weight = g.folded_convolution(f"{CODEC}decoder_blocks.{stage.conv_block}.")
    return g.op("Conv", padded, weight)


def _transposed_conv(g: GraphBuilder, x: str, first: str, stage: CodecStage) -> str:
    """Output o sees inputs floor(o / stride) - tail .. floor(o / stride); what lies before is 0."""
    name = f"{stage.conv_block}.conv"
    tail = -(-stage.kernel // stage.stride) - 1
    remembered = g.op("Where", first, g.constant(0.0), f"state.{name}")
    padded = g.op("Concat", remembered, x, axis=2)
    g.rename(last_steps(g, padded, tail, axis=2), f"next.{name}")
    weight = g.folded_convolution(f"{CODEC}decoder_blocks.{stage.conv_block}.")
    y = g.op("ConvTranspose", padded, weight, strides=[stage.stride])
    head, cut = stage.stride * tail, stage.kernel - stage.stride
    return g.op(
        "Slice", y, g.constant([head]), g.constant([-cut] if cut else [1 << 62]), g.constant([2])
    )
