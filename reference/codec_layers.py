"""Building blocks of the codec: causal convs and windowed ALiBi transformers (format B.8)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from flowvox.config import CodecConfig
from flowvox.reference.layers import FeedForward, RMSNorm

PadMode = Literal["replicate", "reflect"]


def alibi_slopes(n_heads: int) -> list[float]:
    """r^0, r^1, ... with r = 2^(-8/n) for a power of two n.

    Other counts: the list of the largest power of two m < n, then entries 0, 2, 4, ... of the list
    of 2m.
    """
    if n_heads & (n_heads - 1) == 0:
        ratio = 2 ** (-8 / n_heads)
        return [ratio**h for h in range(n_heads)]
    power = 1 << (n_heads.bit_length() - 1)
    return alibi_slopes(power) + alibi_slopes(2 * power)[0::2][: n_heads - power]


def attention_bias(
    length: int, window: int, n_heads: int, dtype: torch.dtype, device: torch.device | None = None
) -> Tensor:
    """slope_h * (j - i) where i - window <= j <= i, else -inf: [n_heads, length, length]."""
    steps = torch.arange(length, device=device)
    distance = steps[None, :] - steps[:, None]
    allowed = (distance <= 0) & (distance >= -window)
    slopes = torch.tensor(alibi_slopes(n_heads), dtype=dtype, device=device)
    bias = slopes[:, None, None] * distance.to(dtype)
    return bias.masked_fill(~allowed, -math.inf)


class CodecAttention(nn.Module):
    """Multi-head attention with RMS-normed q and k over the full width, before the head split."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        inner = config.n_heads * config.head_dim
        self.n_heads = config.n_heads
        self.wq = nn.Linear(config.dim, inner, bias=False)
        self.wk = nn.Linear(config.dim, inner, bias=False)
        self.wv = nn.Linear(config.dim, inner, bias=False)
        self.wo = nn.Linear(inner, config.dim, bias=False)
        self.q_norm = RMSNorm(inner, config.qk_norm_eps)
        self.k_norm = RMSNorm(inner, config.qk_norm_eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [B, T, dim], bias [n_heads, T, T] -> [B, T, dim]."""
        q, k, v = self.q_norm(self.wq(x)), self.k_norm(self.wk(x)), self.wv(x)
        q, k, v = (y.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for y in (q, k, v))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.wo(context.transpose(1, 2).flatten(2))


class CodecLayer(nn.Module):
    """Pre-norm layer whose two branches are scaled per channel before they are added."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.attention = CodecAttention(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention_scale = nn.Parameter(torch.ones(config.dim))
        self.feed_forward = FeedForward(config.dim, config.hidden_dim)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_scale = nn.Parameter(torch.ones(config.dim))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + self.attention_scale * self.attention(self.attention_norm(x), bias)
        return x + self.ffn_scale * self.feed_forward(self.ffn_norm(x))


class CodecTransformer(nn.Module):
    """The transformer of one stage; works on channels-first [B, dim, T] like the convolutions."""

    def __init__(self, config: CodecConfig, n_layers: int, window: int) -> None:
        super().__init__()
        self.n_heads, self.window = config.n_heads, window
        self.layers = nn.ModuleList(CodecLayer(config) for _ in range(n_layers))

    def forward(self, x: Tensor) -> Tensor:
        bias = attention_bias(x.shape[-1], self.window, self.n_heads, x.dtype, x.device)
        y = x.transpose(1, 2)
        for layer in self.layers:
            y = layer(y, bias)
        return y.transpose(1, 2)


class CausalConv1d(nn.Module):
    """Weight-normed conv, padded left by kernel - stride, right to a multiple of the stride."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, mode: PadMode = "replicate"
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.mode = kernel, stride, mode
        self.conv = weight_norm(nn.Conv1d(channels, out, kernel, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T] -> [B, out, ceil(T / stride)]."""
        length = x.shape[-1]
        steps = -(-length // self.stride)
        left = self.kernel - self.stride
        right = steps * self.stride - length
        if self.mode == "reflect" and length <= left:
            # EnCodec's pad1d: zero-extend until the reflection fits; the extra steps are cut below.
            x = F.pad(F.pad(x, (0, left + 1 - length)), (left, 0), mode="reflect")
        else:
            x = F.pad(x, (left, right), mode=self.mode)
        return self.conv(x)[..., :steps]


class CausalConvTranspose1d(nn.Module):
    """Weight-normed transposed conv; the last kernel - stride samples are dropped."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = weight_norm(nn.ConvTranspose1d(channels, out, kernel, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T] -> [B, out, stride * T]."""
        return self.conv(x)[..., : self.stride * x.shape[-1]]
