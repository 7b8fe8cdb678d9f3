"""The backbone graph: new positions and KV cache -> hidden states, cache written in place."""

from __future__ import annotations

from flowvox.config import ModelConfig
from flowvox.errors import ConfigError
from flowvox.exporters.onnx.builder import MICROSOFT, GraphBuilder
from flowvox.exporters.onnx.layers import add_and_norm, rms_norm, swiglu

HEAD_MULTIPLE = 16


def build_backbone(g: GraphBuilder, config: ModelConfig) -> None:
    """Add every node of `flowvox.graphs.backbone_graph` (format B.3). Raises ConfigError."""
    c = config.backbone
    if c.head_dim % HEAD_MULTIPLE:
        raise ConfigError(
            f"head_dim is {c.head_dim}, but onnxruntime's attention needs a multiple of {HEAD_MULTIPLE}"
        )
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
            outputs=1,
            named_outputs=(f"present.{i}.key", f"present.{i}.value"),
            domain=MICROSOFT,
            num_heads=c.n_heads,
            kv_num_heads=c.n_kv_heads,
            scale=c.head_dim**-0.5,
            do_rotary=1,
            rotary_interleaved=1,
        )
        branch = g.linear(context, f"{layer}attention.wo.weight")
        normed, x = add_and_norm(g, x, branch, f"{layer}ffn_norm.weight", c.norm_eps)
        branch = swiglu(g, normed, f"{layer}feed_forward.")
        following = f"layers.{i + 1}.attention_norm.weight"
        name = following if i + 1 < c.n_layers else "norm.weight"
        normed, x = add_and_norm(g, x, branch, name, c.norm_eps)
    g.rename(normed, "hidden")
