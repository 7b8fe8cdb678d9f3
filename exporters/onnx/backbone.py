"""The backbone graph: new positions and KV cache -> hidden states, cache written in place."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.errors import ConfigError
from flowvox.exporters.onnx.builder import MICROSOFT, GraphBuilder
from flowvox.exporters.onnx.layers import add_and_norm, rms_norm, swiglu
from flowvox.quantizers.kv_cache import cache_steps

HEAD_MULTIPLE = 16
CACHE_ATTRIBUTES: dict[str, Any] = {
    "k_quant_type": "PER_CHANNEL",
    "v_quant_type": "PER_CHANNEL",
    "kv_cache_bit_width": 8,
}


def build_backbone(
    g: GraphBuilder,
    config: ModelConfig,
    largest: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
) -> None:
    """Add every node of `flowvox.graphs.backbone_graph` (format B.3).

    largest: of each channel of the cache, [kv heads, head_dim] by input name; for a cache in int8.
    Raises ConfigError.
    """
    c = config.backbone
    if c.head_dim % HEAD_MULTIPLE:
        raise ConfigError(
            f"head_dim is {c.head_dim}, but onnxruntime's attention needs a multiple of {HEAD_MULTIPLE}"
        )
    quantized = any(value.dtype == "int8" for value in g.spec.inputs)
    x = "embeddings"
    normed = rms_norm(g, x, "layers.0.attention_norm.weight", c.norm_eps)
    for i in range(c.n_layers):
        layer = f"layers.{i}."
        (context,) = g.ops(
            "GroupQueryAttention",
            g.fitting(g.linear(normed, f"{layer}attention.wq.weight")),
            g.fitting(g.linear(normed, f"{layer}attention.wk.weight")),
            g.fitting(g.linear(normed, f"{layer}attention.wv.weight")),
            f"past.{i}.key",
            f"past.{i}.value",
            "seqlens_k",
            "total_length",
            g.fitting("rope_cos"),
            g.fitting("rope_sin"),
            *(cache_scales(g, i, largest) if quantized else ()),
            outputs=1,
            named_outputs=(f"present.{i}.key", f"present.{i}.value"),
            domain=MICROSOFT,
            num_heads=c.n_heads,
            kv_num_heads=c.n_kv_heads,
            scale=c.head_dim**-0.5,
            do_rotary=1,
            rotary_interleaved=1,
            **(CACHE_ATTRIBUTES if quantized else {}),
        )
        branch = g.linear(context, f"{layer}attention.wo.weight")
        normed, x = add_and_norm(g, x, branch, f"{layer}ffn_norm.weight", c.norm_eps)
        branch = swiglu(g, normed, f"{layer}feed_forward.")
        following = f"layers.{i + 1}.attention_norm.weight"
        name = following if i + 1 < c.n_layers else "norm.weight"
        normed, x = add_and_norm(g, x, branch, name, c.norm_eps)
    g.rename(normed, "hidden")


def cache_scales(
    g: GraphBuilder, layer: int, largest: Mapping[str, NDArray[np.float32]]
) -> tuple[str, ...]:
    """GroupQueryAttention's inputs 9 to 13: three that are not used, the scales of keys and values."""
    names = []
    for kind in ("key", "value"):
        scale = cache_steps(largest[f"past.{layer}.{kind}"])[None, :, None]
        names.append(g.store(f"layers.{layer}.cache.{kind}.scale", scale))
    return ("", "", "", *names)
