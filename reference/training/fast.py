"""The reference's layers as training wants them: fused kernels, nothing computed twice.

Equal to `flowvox.reference.layers` up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.reference.backbone import Backbone
from flowvox.reference.flow import FlowHead, time_embedding
from flowvox.reference.layers import Attention, RMSNorm, TransformerLayer


def typed(stack: nn.ModuleList) -> list[TransformerLayer]:
    """The layers of a stack, for the type checker."""
    return [layer for layer in stack if isinstance(layer, TransformerLayer)]


def normed(norm: RMSNorm, x: Tensor) -> Tensor:
    """RMSNorm by torch's fused kernel, in float32, then in the type of the products."""
    return F.rms_norm(x, norm.weight.shape, norm.weight.to(x.dtype), norm.eps)


def embed_values(backbone: Backbone, values: Tensor) -> Tensor:
    """`Backbone.embed_values` [N, 37] -> [N, dim] without the [N, 37, dim] in between."""
    table = backbone.mm_audio_embeddings.audio_codebook_embeddings.embeddings.weight
    return F.embedding_bag(values + backbone.code_offsets, table, mode="sum")


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`apply_rope` of x [B, heads, S, head_dim] with cos and sin [S, head_dim / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def projected(
    attention: Attention, x: Tensor, rope: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of normed x, all with the number of query heads."""
    weight = torch.cat([attention.wq.weight, attention.wk.weight, attention.wv.weight])
    heads, shared = attention.n_heads, attention.n_kv_heads
    y = F.linear(x, weight).view(*x.shape[:-1], heads + 2 * shared, -1).transpose(1, 2)
    qk, v = y[:, : heads + shared], y[:, heads + shared :]
    if rope is not None:
        qk = rotated(qk, *rope)
    q, k = qk[:, :heads], qk[:, heads:]
    repeats = heads // shared
    return q, k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention [B, heads, S, head_dim]; spelled out on processors, where torch's fused kernel
    takes three times as long in bfloat16 at these sizes."""
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = (q @ k.mT) * q.shape[-1] ** -0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1) @ v


def feed_forward(layer: TransformerLayer, x: Tensor) -> Tensor:
    """x + w2(silu(w1 n) * w3 n), n the norm of x."""
    n = normed(layer.ffn_norm, x)
    weight = torch.cat([layer.feed_forward.w1.weight, layer.feed_forward.w3.weight])
    gate, up = F.linear(n, weight).chunk(2, -1)
    return x + layer.feed_forward.w2(F.silu(gate) * up)


def velocity(flow: FlowHead, x: Tensor, times: Tensor, hidden: Tensor) -> Tensor:
    """`FlowHead.velocity` without the work on tokens 1 and 2 of the last layer, which nobody reads."""
    time_token = flow.time_projection(time_embedding(times, flow.config.dim))
    tokens = [flow.input_projection(x), time_token, flow.llm_projection(hidden)]
    y = torch.stack(tokens, dim=1)
    *early, last = typed(flow.layers)
    for layer in early:
        q, k, v = projected(layer.attention, normed(layer.attention_norm, y), None)
        y = y + layer.attention.wo(attended(q, k, v))
        y = feed_forward(layer, y)
    q, k, v = projected(last.attention, normed(last.attention_norm, y), None)
    z = y[:, 0] + last.attention.wo(attended(q[:, :, :1], k, v)[:, 0])
    return flow.acoustic_codebook_output(normed(flow.norm, feed_forward(last, z)))


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over the three tokens of the flow head, spelled out: too small for a fused kernel."""
    scores = (q[:, :, :, None] * k[:, :, None]).sum(-1) * q.shape[-1] ** -0.5
    weights = scores.float().softmax(-1).to(v.dtype)
    context = (weights[..., None] * v[:, :, None]).sum(3)
    return context.transpose(1, 2).flatten(2)


def guided_scores(q: Tensor, k: Tensor, row: Tensor, position: Tensor) -> Tensor:
    """Causal scores [M, S] of one head q, k [B, S, head_dim] for the queries at (row, position)."""
    scores = (q @ k.mT) * q.shape[-1] ** -0.5
    chosen = scores[row, position].float()
    future = torch.arange(k.shape[1], device=q.device)[None] > position[:, None]
    return chosen.masked_fill(future, -torch.inf)
