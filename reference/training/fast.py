"""The reference's layers as training on a CPU wants them: bfloat16 products, nothing computed twice.

Equal to `flowvox.reference.layers` up to rounding. Attention is spelled out because torch's fused
kernel takes three times as long in bfloat16 at these sizes, and the guided heads need the scores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.reference.backbone import Backbone
from flowvox.reference.flow import FlowHead, time_embedding
from flowvox.reference.layers import Attention, TransformerLayer


def typed(stack: nn.ModuleList) -> list[TransformerLayer]:
    """The layers of a stack, for the type checker."""
    return [layer for layer in stack if isinstance(layer, TransformerLayer)]


def embed_values(backbone: Backbone, values: Tensor) -> Tensor:
    """`Backbone.embed_values` [N, 37] -> [N, dim] without the [N, 37, dim] in between."""
    table = backbone.mm_audio_embeddings.audio_codebook_embeddings.embeddings.weight
    return F.embedding_bag(values + backbone.code_offsets, table, mode="sum")


def attend(
    attention: Attention, x: Tensor, rope: Tensor | None, future: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Normed x [B, S, dim] -> (context [B, S, q_dim] before wo, scores [B, heads, S, S])."""
    q, k, v = attention.project(x, rope)
    repeats = attention.n_heads // attention.n_kv_heads
    k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
    if future is not None:
        scores = scores.masked_fill(future, -torch.inf)
    context = scores.softmax(dim=-1) @ v
    return context.transpose(1, 2).flatten(2), scores


def layer_rows(
    layer: TransformerLayer, x: Tensor, rope: Tensor, future: Tensor, rows: Tensor
) -> Tensor:
    """One layer's output at the positions `rows` [B, S] (bool) alone -> [M, dim]."""
    context, _ = attend(layer.attention, layer.attention_norm(x), rope, future)
    y = x[rows] + layer.attention.wo(context[rows])
    return y + layer.feed_forward(layer.ffn_norm(y))


def velocity(flow: FlowHead, x: Tensor, times: Tensor, hidden: Tensor) -> Tensor:
    """`FlowHead.velocity` without the work on tokens 1 and 2 of the last layer, which nobody reads."""
    time_token = flow.time_projection(time_embedding(times, flow.config.dim))
    tokens = [flow.input_projection(x), time_token, flow.llm_projection(hidden)]
    y = torch.stack(tokens, dim=1)
    *early, last = typed(flow.layers)
    for layer in early:
        context, _ = attend(layer.attention, layer.attention_norm(y), None, None)
        y = y + layer.attention.wo(context)
        y = y + layer.feed_forward(layer.ffn_norm(y))
    context, _ = attend(last.attention, last.attention_norm(y), None, None)
    z = y[:, 0] + last.attention.wo(context[:, 0])
    z = z + last.feed_forward(last.ffn_norm(z))
    return flow.acoustic_codebook_output(flow.norm(z))
