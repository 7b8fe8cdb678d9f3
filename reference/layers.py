"""The pre-norm transformer layer that backbone and flow head share.

Parameter names equal the checkpoint's. Formulas: shared format notes B.3 (backbone) and B.6 (flow).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import TransformerConfig


class RMSNorm(nn.Module):
    """y = x * rsqrt(mean(x^2) + eps) * w over the last axis, reduced in at least float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * scale).to(x.dtype) * self.weight


class KVCache:
    """Keys and values of one layer, preallocated: [B, kv_heads, max_positions, head_dim]."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
        self.keys = torch.zeros(shape, dtype=dtype)
        self.values = torch.zeros(shape, dtype=dtype)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store S new positions and return all valid ones, [B, kv_heads, length, head_dim]."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


def rope_table(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Tensor:
    """Rotations exp(i p theta^(-2j/head_dim)) as [S, head_dim/2, 2] (cos, sin), made in float64."""
    exponents = (
        torch.arange(0, head_dim, 2, dtype=torch.float64, device=positions.device) / head_dim
    )
    angles = positions.double()[:, None] * theta**-exponents
    return torch.stack([angles.cos(), angles.sin()], dim=-1).to(dtype)


def apply_rope(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate the interleaved pairs (2j, 2j+1) of x [B, heads, S, head_dim]."""
    pairs = x.view(*x.shape[:-1], -1, 2)
    cos, sin = rope[..., 0], rope[..., 1]
    even, odd = pairs[..., 0], pairs[..., 1]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class Attention(nn.Module):
    """Grouped-query attention, no biases; query head h uses kv head h // (n_heads / n_kv_heads)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.wq = nn.Linear(config.dim, config.q_dim, bias=False)
        self.wk = nn.Linear(config.dim, config.kv_dim, bias=False)
        self.wv = nn.Linear(config.dim, config.kv_dim, bias=False)
        self.wo = nn.Linear(config.q_dim, config.dim, bias=False)

    def project(self, x: Tensor, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, S, dim] -> q [B, n_heads, S, head_dim], k and v [B, n_kv_heads, S, head_dim]."""
        q = self.wq(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        k = self.wk(x).unflatten(-1, (self.n_kv_heads, -1)).transpose(1, 2)
        v = self.wv(x).unflatten(-1, (self.n_kv_heads, -1)).transpose(1, 2)
        if rope is not None:
            q, k = apply_rope(q, rope), apply_rope(k, rope)
        return q, k, v

    def forward(
        self, x: Tensor, rope: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """x [B, S, dim] -> [B, S, dim]. With `rope` causal, without it bidirectional."""
        q, k, v = self.project(x, rope)
        past = 0
        if cache is not None:
            past = cache.length
            k, v = cache.append(k, v)
        mask = None
        if rope is not None and past > 0:
            ones = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=x.device)
            mask = ones.tril(diagonal=past)
        context = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=rope is not None and past == 0, enable_gqa=True
        )
        return self.wo(context.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config.dim, config.hidden_dim)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(
        self, x: Tensor, rope: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, cache)
        return x + self.feed_forward(self.ffn_norm(x))
