"""The flow graph: one hidden state per row -> semantic logits and integrated latents (B.5, B.6)."""

from __future__ import annotations

import numpy as np

from flowvox.config import ModelConfig
from flowvox.exporters.onnx.builder import MICROSOFT, GraphBuilder
from flowvox.exporters.onnx.layers import add_and_norm, rms_norm, swiglu
from flowvox.graphs import SCHEDULE_COLUMNS, TensorSpec
from flowvox.tensors import FLOW

LONGEST_PERIOD = 10000.0


def build_flow(g: GraphBuilder, config: ModelConfig) -> None:
    """Add every node of `flowvox.graphs.flow_graph`.

    Work that does not change between evaluations stands before the loop: the projection of `hidden`,
    all time tokens. The null condition's token is exactly zero, and the last layer computes queries
    and feed-forward for position 0 only, because nothing else is read.
    """
    n, dim = config.codec.acoustic_dim, config.flow.dim
    g.rename(g.linear("hidden", f"{FLOW}semantic_codebook_output.weight"), "semantic_logits")
    condition = g.linear("hidden", f"{FLOW}llm_projection.weight")
    null = g.op("Mul", condition, g.constant(0.0))
    conditions = g.op("Concat", condition, null, axis=0)
    conditions = g.op("Unsqueeze", conditions, g.constant([1]))
    time_tokens = g.linear(_time_embeddings(g, dim), f"{FLOW}time_projection.weight")

    body = g.body()
    column = dict(zip(SCHEDULE_COLUMNS, _row(body), strict=True))
    advance = body.op("Mul", column["advance"], "previous")
    z = body.op("Add", "x", advance)
    velocity = _guided_velocity(body, config, z, column["guidance"], conditions, time_tokens)
    step = body.op("Mul", column["weight"], velocity)
    correction = body.op("Mul", column["previous_weight"], "previous")
    moved = body.op("Add", "x", body.op("Add", step, correction))
    body.rename("condition", "condition_out")
    body.rename(moved, "x_out")
    body.rename(velocity, "velocity_out")

    state = ("batch", n)
    loop = body.body_graph(
        "evaluation",
        [
            TensorSpec("evaluation", "int64", ()),
            TensorSpec("condition", "bool", ()),
            TensorSpec("x", "float32", state),
            TensorSpec("previous", "float32", state),
        ],
        [
            TensorSpec("condition_out", "bool", ()),
            TensorSpec("x_out", "float32", state),
            TensorSpec("velocity_out", "float32", state),
        ],
    )
    count = g.op("Gather", g.op("Shape", "schedule"), g.constant(0))
    rest = g.op("Mul", "noise", g.constant(0.0))
    always = g.constant(np.array(True))
    latents, _ = g.ops("Loop", count, always, "noise", rest, outputs=2, body=loop)
    g.rename(latents, "latents")


def _time_embeddings(g: GraphBuilder, dim: int) -> str:
    """concat(cos(t f), sin(t f)) of every time in the schedule: [evaluations, dim]."""
    steps = np.arange(dim // 2) / (dim // 2)
    frequencies = np.exp(-np.log(LONGEST_PERIOD) * steps).astype(np.float32)
    times = g.op("Slice", "schedule", g.constant([0]), g.constant([1]), g.constant([1]))
    angles = g.op("Mul", times, g.constant(frequencies[None]))
    return g.op("Concat", g.op("Cos", angles), g.op("Sin", angles), axis=1)


def _row(body: GraphBuilder) -> list[str]:
    """The schedule's columns for this evaluation, each [1]."""
    row = body.op("Gather", "schedule", "evaluation", axis=0)
    width = len(SCHEDULE_COLUMNS)
    return body.ops("Split", row, outputs=width, axis=0, num_outputs=width)


def _guided_velocity(
    g: GraphBuilder, config: ModelConfig, z: str, guidance: str, conditions: str, time_tokens: str
) -> str:
    """guidance * v(hidden) + (1 - guidance) * v(0), both branches in one batch of 2B rows."""
    c = config.flow
    x_token = g.op("Unsqueeze", g.linear(z, f"{FLOW}input_projection.weight"), g.constant([1]))
    x_tokens = g.op("Concat", x_token, x_token, axis=0)
    time_token = g.op("Gather", time_tokens, "evaluation", axis=0)
    time = g.op("Expand", time_token, g.op("Shape", x_tokens))
    tokens = g.op("Concat", x_tokens, time, conditions, axis=1)
    normed = rms_norm(g, tokens, f"{FLOW}layers.0.attention_norm.weight", c.norm_eps)
    for i in range(c.n_layers):
        layer = f"{FLOW}layers.{i}."
        last = i + 1 == c.n_layers
        queries = normed
        if last:
            queries, tokens = _first_token(g, normed), _first_token(g, tokens)
        context = _attention(g, config, queries, normed, f"{layer}attention.")
        branch = g.linear(context, f"{layer}attention.wo.weight")
        normed, tokens = add_and_norm(g, tokens, branch, f"{layer}ffn_norm.weight", c.norm_eps)
        branch = swiglu(g, normed, f"{layer}feed_forward.")
        name = f"{FLOW}norm.weight" if last else f"{FLOW}layers.{i + 1}.attention_norm.weight"
        normed, tokens = add_and_norm(g, tokens, branch, name, c.norm_eps)
    output = g.linear(normed, f"{FLOW}acoustic_codebook_output.weight")
    both = g.op("Squeeze", output, g.constant([1]))
    conditional, null = g.ops("Split", both, outputs=2, axis=0, num_outputs=2)
    weighted = g.op("Mul", guidance, conditional)
    return g.op("Add", weighted, g.op("Mul", g.op("Sub", g.constant([1.0]), guidance), null))


def _first_token(g: GraphBuilder, x: str) -> str:
    return g.op("Slice", x, g.constant([0]), g.constant([1]), g.constant([1]))


def _attention(g: GraphBuilder, config: ModelConfig, queries: str, x: str, prefix: str) -> str:
    """Bidirectional attention of `queries` over the three tokens `x`; no positions, no mask."""
    c = config.flow
    q = g.linear(queries, f"{prefix}wq.weight")
    k = _repeat_heads(g, g.linear(x, f"{prefix}wk.weight"), config)
    v = _repeat_heads(g, g.linear(x, f"{prefix}wv.weight"), config)
    scale = c.head_dim**-0.5
    return g.op("MultiHeadAttention", q, k, v, domain=MICROSOFT, num_heads=c.n_heads, scale=scale)


def _repeat_heads(g: GraphBuilder, x: str, config: ModelConfig) -> str:
    """[B, S, kv_dim] -> [B, S, q_dim]: each kv head serves n_heads / n_kv_heads query heads."""
    c = config.flow
    times = c.n_heads // c.n_kv_heads
    if times == 1:
        return x
    heads = g.op("Reshape", x, g.constant([0, 0, c.n_kv_heads, 1, c.head_dim]))
    tiled = g.op("Expand", heads, g.constant([1, 1, 1, times, 1]))
    return g.op("Reshape", tiled, g.constant([0, 0, c.q_dim]))
