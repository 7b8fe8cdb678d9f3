"""Formulas that the backbone, the flow head and the codec share (format B.3), loops and all."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Tensors = dict[str, Array]
Keys = Callable[[int, int], range]  # (query position, length) -> the key positions it may see


def linear(x: Array, weight: Array) -> Array:
    """x [T, in], weight [out, in] -> [T, out]; no biases anywhere in the model."""
    return x @ weight.T


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """y = x * rsqrt(mean(x^2) + eps) * w, position by position."""
    return np.array([row / math.sqrt(np.mean(row * row) + eps) * weight for row in x])


def silu(x: Array) -> Array:
    return x / (1.0 + np.exp(-x))


def feed_forward(x: Array, tensors: Tensors, prefix: str) -> Array:
    """SwiGLU: w1 is the gate, w3 the up and w2 the down projection."""
    gate = silu(linear(x, tensors[f"{prefix}w1.weight"]))
    return linear(gate * linear(x, tensors[f"{prefix}w3.weight"]), tensors[f"{prefix}w2.weight"])


def rotate(head: Array, position: int, theta: float) -> Array:
    """Turn the pair (2i, 2i+1) of one head by position * theta^(-2i/head_dim)."""
    out = np.empty_like(head)
    size = len(head)
    for i in range(size // 2):
        angle = position * theta ** (-2 * i / size)
        even, odd = head[2 * i], head[2 * i + 1]
        out[2 * i] = even * math.cos(angle) - odd * math.sin(angle)
        out[2 * i + 1] = even * math.sin(angle) + odd * math.cos(angle)
    return out


def rotate_all(heads: Array, theta: float) -> Array:
    """heads [T, H, D], at positions 0 .. T-1."""
    return np.array([[rotate(head, p, theta) for head in row] for p, row in enumerate(heads)])


def causal(i: int, length: int) -> range:
    return range(i + 1)


def unmasked(i: int, length: int) -> range:
    return range(length)


def softmax(scores: Array) -> Array:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def kv_head(h: int, n_heads: int, n_kv_heads: int) -> int:
    """The key/value head that query head h uses."""
    return h // (n_heads // n_kv_heads)


def attention(q: Array, k: Array, v: Array, keys: Keys, slopes: Array | None = None) -> Array:
    """q [T, H, D], k and v [T, G, D] -> [T, H * D]; bias slope_h * (j - i) where there are slopes."""
    length, n_heads, head_dim = q.shape
    out = np.zeros_like(q)
    for i in range(length):
        seen = np.array(keys(i, length))
        for h in range(n_heads):
            g = kv_head(h, n_heads, k.shape[1])
            scores = k[seen, g] @ q[i, h] / math.sqrt(head_dim)
            if slopes is not None:
                scores = scores + slopes[h] * (seen - i)
            out[i, h] = softmax(scores) @ v[seen, g]
    return out.reshape(length, n_heads * head_dim)


def transformer_layer(
    x: Array,
    tensors: Tensors,
    prefix: str,
    head_dim: int,
    eps: float,
    keys: Keys,
    theta: float | None,
) -> Array:
    """A pre-norm layer of the backbone (causal, rotary) or of the flow head (neither)."""

    def project(name: str) -> Array:
        heads = linear(normed, tensors[f"{prefix}attention.{name}.weight"])
        return heads.reshape(len(x), -1, head_dim)

    normed = rms_norm(x, tensors[f"{prefix}attention_norm.weight"], eps)
    q, k, v = project("wq"), project("wk"), project("wv")
    if theta is not None:
        q, k = rotate_all(q, theta), rotate_all(k, theta)
    x = x + linear(attention(q, k, v, keys), tensors[f"{prefix}attention.wo.weight"])
    normed = rms_norm(x, tensors[f"{prefix}ffn_norm.weight"], eps)
    return x + feed_forward(normed, tensors, f"{prefix}feed_forward.")
