"""Layers of the codec graphs: the windowed ALiBi transformer with and without a state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowvox.config import CodecConfig
from flowvox.exporters.onnx.builder import GraphBuilder
from flowvox.exporters.onnx.layers import rms_norm, swiglu


def alibi_slopes(n_heads: int) -> list[float]:
    """r^0, r^1, ... with r = 2^(-8/n); other counts than powers of two as in format B.8."""
    power = 1 << (n_heads.bit_length() - 1)
    slopes = [float(2 ** (-8 * h / power)) for h in range(power)]
    if power < n_heads:
        slopes += [float(2 ** (-8 * h / (2 * power))) for h in range(0, 2 * power, 2)]
    return slopes[:n_heads]


@dataclass(frozen=True)
class Window:
    """Attention bias of a stage, shared by its layers: [1, heads, T, past + T]."""

    bias: str
    past: int


def attention_window(
    g: GraphBuilder, x: str, config: CodecConfig, window: int, position: str | None
) -> Window:
    """slope * (j - i) for i - window <= j <= i, else -inf; x is [1, T, dim].

    With `position` (steps decoded before, int64 [1]) the keys are preceded by `window` remembered
    ones, of which those before the start of the utterance are masked.
    """
    past = window if position is not None else 0
    length = g.op("Gather", g.op("Shape", x), g.constant(1))
    total = g.op("Add", length, g.constant(past))
    one, zero = g.constant(1), g.constant(0)
    queries = g.op("Unsqueeze", g.op("Range", zero, length, one), g.constant([1]))
    keys = g.op("Unsqueeze", g.op("Range", zero, total, one), g.constant([0]))
    distance = g.op("Sub", g.op("Sub", keys, g.constant(past)), queries)
    in_window = g.op("GreaterOrEqual", distance, g.constant(-window))
    allowed = g.op("And", g.op("LessOrEqual", distance, zero), in_window)
    if position is not None:
        first = g.op("Sub", g.constant([past]), position)
        allowed = g.op("And", allowed, g.op("GreaterOrEqual", keys, first))
    slopes = np.array(alibi_slopes(config.n_heads), dtype=np.float32).reshape(1, -1, 1, 1)
    bias = g.op("Mul", g.constant(slopes), g.op("Cast", distance, to=1))
    return Window(g.op("Where", allowed, bias, g.constant(-np.inf)), past)


def codec_layer(
    g: GraphBuilder,
    x: str,
    prefix: str,
    config: CodecConfig,
    window: Window,
    state: tuple[str, str] | None = None,
) -> tuple[str, tuple[str, str]]:
    """One pre-norm layer on x [1, T, dim] -> (y, (keys, values) including the remembered ones)."""
    attention = f"{prefix}attention."
    normed = rms_norm(g, x, f"{prefix}attention_norm.weight", config.norm_eps)
    q = g.linear(normed, f"{attention}wq.weight")
    k = g.linear(normed, f"{attention}wk.weight")
    # q and k are normed over the whole width, before the heads are split.
    q = rms_norm(g, q, f"{attention}q_norm.weight", config.qk_norm_eps)
    k = rms_norm(g, k, f"{attention}k_norm.weight", config.qk_norm_eps)
    v = g.linear(normed, f"{attention}wv.weight")
    q, k, v = (_split_heads(g, y, config) for y in (q, k, v))
    if state is not None:
        k = g.op("Concat", state[0], k, axis=2)
        v = g.op("Concat", state[1], v, axis=2)
    scaled = g.op("Mul", q, g.constant(config.head_dim**-0.5))
    scores = g.op("MatMul", scaled, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    weights = g.op("Softmax", g.op("Add", scores, window.bias), axis=-1)
    context = g.op("Transpose", g.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    context = g.op("Reshape", context, g.constant([0, 0, config.n_heads * config.head_dim]))
    branch = g.linear(context, f"{attention}wo.weight")
    x = g.op("Add", x, g.op("Mul", branch, g.parameter(f"{prefix}attention_scale")))
    normed = rms_norm(g, x, f"{prefix}ffn_norm.weight", config.norm_eps)
    branch = swiglu(g, normed, f"{prefix}feed_forward.")
    return g.op("Add", x, g.op("Mul", branch, g.parameter(f"{prefix}ffn_scale"))), (k, v)


def _split_heads(g: GraphBuilder, x: str, config: CodecConfig) -> str:
    heads = g.op("Reshape", x, g.constant([0, 0, config.n_heads, config.head_dim]))
    return g.op("Transpose", heads, perm=[0, 2, 1, 3])


def last_steps(g: GraphBuilder, x: str, count: int, axis: int) -> str:
    """The last `count` entries along `axis`."""
    end = np.iinfo(np.int64).max
    return g.op("Slice", x, g.constant([-count]), g.constant([end]), g.constant([axis]))
