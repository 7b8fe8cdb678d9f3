"""The flow graph: one hidden state per row -> semantic logits and integrated latents (B.5, B.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from flowvox.config import ModelConfig
from flowvox.exporters.onnx.builder import MICROSOFT, GraphBuilder
from flowvox.exporters.onnx.layers import add_and_norm, rms_norm, swiglu
from flowvox.graphs import SCHEDULE_COLUMNS, TensorSpec
from flowvox.tensors import FLOW

LONGEST_PERIOD = 10000.0
PROJECTIONS = ("wq", "wk", "wv")


def build_flow(g: GraphBuilder, config: ModelConfig) -> None:
    """Add every node of `flowvox.graphs.flow_graph`.

    What an evaluation starts from is a row per token: the token, and its query, key and value in the
    first layer, [dim + q_dim + 2 kv_dim]. Without positions and mask these depend on the token alone,
    so the rows of all times and of both conditions stand before the loop, and the null condition's
    row is exactly zero. An evaluation computes one new row, of x, for both guidance branches.
    """
    n, flow = config.codec.acoustic_dim, config.flow
    g.rename(g.linear("hidden", f"{FLOW}semantic_codebook_output.weight"), "semantic_logits")
    condition = g.linear("hidden", f"{FLOW}llm_projection.weight")
    times = g.linear(time_embeddings(g, flow.dim), f"{FLOW}time_projection.weight")
    tokens = g.op("Concat", times, condition, axis=0)
    count = g.op("Gather", g.op("Shape", "schedule"), g.constant([0]))
    counts = g.op("Concat", count, batch_size(g), axis=0)
    time_rows, condition_rows = g.ops(
        "Split", _token_rows(g, config, tokens), counts, outputs=2, axis=0
    )
    null_rows = g.op("Mul", condition_rows, g.constant(0.0))
    conditions = g.op("Concat", condition_rows, null_rows, axis=0)
    conditions = g.op("Unsqueeze", conditions, g.constant([1]))

    def velocity(body: GraphBuilder, z: str, column: Mapping[str, str]) -> str:
        return _guided_velocity(body, config, z, column["guidance"], conditions, time_rows)

    integrate(g, n, velocity)


def integrate(
    g: GraphBuilder, n: int, velocity_at: Callable[[GraphBuilder, str, Mapping[str, str]], str]
) -> None:
    """The loop over the rows of `schedule`, from `noise` [B, n] to `latents`.

    velocity_at: adds to the body what computes v at z [B, n]; it is given the row's columns, each [1],
    and may use "evaluation", the row's number.
    """
    body = g.body()
    column = dict(zip(SCHEDULE_COLUMNS, _row(body), strict=True))
    advance = body.op("Mul", column["advance"], "previous")
    z = body.op("Add", "x", advance)
    velocity = velocity_at(body, z, column)
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
    trips = g.op("Gather", g.op("Shape", "schedule"), g.constant(0))
    rest = g.op("Mul", "noise", g.constant(0.0))
    always = g.constant(np.array(True))
    latents, _ = g.ops("Loop", trips, always, "noise", rest, outputs=2, body=loop)
    g.rename(latents, "latents")


def batch_size(g: GraphBuilder) -> str:
    """The number of frames, [1]."""
    return g.op("Gather", g.op("Shape", "noise"), g.constant([0]))


def time_embeddings(g: GraphBuilder, dim: int) -> str:
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


def _token_rows(g: GraphBuilder, config: ModelConfig, tokens: str) -> str:
    """tokens [T, dim] -> their rows: token, query, key and value in the first layer."""
    layer = f"{FLOW}layers.0."
    normed = rms_norm(g, tokens, f"{layer}attention_norm.weight", config.flow.norm_eps)
    projected = (g.linear(normed, f"{layer}attention.{kind}.weight") for kind in PROJECTIONS)
    return g.op("Concat", tokens, *projected, axis=-1)


def _x_rows(g: GraphBuilder, config: ModelConfig, z: str) -> str:
    """z [B, n] -> the rows of its tokens.

    Token and projections are linear in z but for the norm's root mean square: their matrices are
    multiplied with that of the input at export, which leaves n columns of what were dim.
    """
    layer = f"{FLOW}layers.0."
    names = [f"{layer}attention.{kind}.weight" for kind in PROJECTIONS]
    token = g.linear(z, f"{FLOW}input_projection.weight")
    projected = g.composed(
        z, names, f"{layer}attention_norm.weight", f"{FLOW}input_projection.weight"
    )
    power = g.op("ReduceMean", g.op("Mul", token, token), g.constant([-1]), keepdims=1)
    size = g.op("Sqrt", g.op("Add", power, g.constant(config.flow.norm_eps)))
    return g.op("Concat", token, g.op("Div", projected, size), axis=-1)


def _guided_velocity(
    g: GraphBuilder, config: ModelConfig, z: str, guidance: str, conditions: str, time_rows: str
) -> str:
    """guidance * v(hidden) + (1 - guidance) * v(0), both branches in one batch of 2B rows.

    Where guidance is 1 the null branch has no weight, and the batch is the B rows of the other.
    """
    c = config.flow
    batch = batch_size(g)
    alone = g.op("Equal", guidance, g.constant([1.0]))
    nulls = g.op("Where", alone, g.constant([0]), batch)
    x_rows = g.op("Unsqueeze", _x_rows(g, config, z), g.constant([1]))
    x_rows = g.op("Concat", x_rows, x_rows, axis=0)
    time_row = g.op("Gather", time_rows, "evaluation", axis=0)
    times = g.op("Expand", time_row, g.op("Shape", x_rows))
    rows = g.op("Concat", x_rows, times, conditions, axis=1)
    rows = g.op("Slice", rows, g.constant([0]), g.op("Add", batch, nulls), g.constant([0]))
    widths = g.constant([c.dim, c.q_dim, c.kv_dim, c.kv_dim])
    tokens, *projected = g.ops("Split", rows, widths, outputs=4, axis=-1)
    for i in range(c.n_layers):
        layer = f"{FLOW}layers.{i}."
        last = i + 1 == c.n_layers
        q, k, v = projected
        if last:  # nothing else is read
            q, tokens = first_token(g, q) if i == 0 else q, first_token(g, tokens)
        context = attention(g, config, q, k, v)
        branch = g.linear(context, f"{layer}attention.wo.weight")
        normed, tokens = add_and_norm(g, tokens, branch, f"{layer}ffn_norm.weight", c.norm_eps)
        branch = swiglu(g, normed, f"{layer}feed_forward.")
        name = f"{FLOW}norm.weight" if last else f"{FLOW}layers.{i + 1}.attention_norm.weight"
        normed, tokens = add_and_norm(g, tokens, branch, name, c.norm_eps)
        if not last:
            projected = _project(g, config, i + 1, normed)
    output = g.linear(normed, f"{FLOW}acoustic_codebook_output.weight")
    both = g.op("Squeeze", output, g.constant([1]))
    conditional = g.op("Slice", both, g.constant([0]), batch, g.constant([0]))
    null = g.op("Slice", both, nulls, g.op("Add", batch, nulls), g.constant([0]))
    weighted = g.op("Mul", guidance, conditional)
    return g.op("Add", weighted, g.op("Mul", g.op("Sub", g.constant([1.0]), guidance), null))


def _project(g: GraphBuilder, config: ModelConfig, layer: int, normed: str) -> list[str]:
    """Query, key and value of a layer; in the last one the query of the first token only."""
    last = layer + 1 == config.flow.n_layers
    queries = first_token(g, normed) if last else normed
    inputs = (queries, normed, normed)
    return [
        g.linear(x, f"{FLOW}layers.{layer}.attention.{kind}.weight")
        for kind, x in zip(PROJECTIONS, inputs, strict=True)
    ]


def first_token(g: GraphBuilder, x: str) -> str:
    return g.op("Slice", x, g.constant([0]), g.constant([1]), g.constant([1]))


def attention(g: GraphBuilder, config: ModelConfig, q: str, k: str, v: str) -> str:
    """Bidirectional attention of the queries over the three tokens; no positions, no mask."""
    c = config.flow
    k, v = _repeat_heads(g, k, config), _repeat_heads(g, v, config)
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
