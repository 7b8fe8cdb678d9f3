"""The flow-matching head: hidden state -> semantic logits, acoustic latents (format B.5, B.6)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from flowvox.config import ModelConfig
from flowvox.reference.layers import RMSNorm, TransformerLayer
from flowvox.schedule import Sampling, guidance_at, time_grid

PUBLISHED = Sampling()


def time_embedding(times: Tensor, dim: int) -> Tensor:
    """concat(cos(t f), sin(t f)) with f_i = 10000^(-i / (dim/2)); times [...] -> [..., dim].

    t runs from 0 to 1 and is not multiplied by 1000; cosines come first.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float64, device=times.device)
    frequencies = torch.exp(-math.log(10000.0) * steps / half)
    angles = times.double()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(times.dtype)


class FlowHead(nn.Module):
    """Three tokens (x, time, hidden), no positions, no mask; velocity read at the x token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c, n = config.flow, config.codec.acoustic_dim
        self.config = c
        self.semantic_rows = config.semantic_rows
        self.input_projection = nn.Linear(n, c.dim, bias=False)
        self.time_projection = nn.Linear(c.dim, c.dim, bias=False)
        self.llm_projection = nn.Linear(c.input_dim, c.dim, bias=False)
        self.layers = nn.ModuleList(TransformerLayer(c) for _ in range(c.n_layers))
        self.norm = RMSNorm(c.dim, c.norm_eps)
        self.semantic_codebook_output = nn.Linear(
            c.input_dim, config.semantic_rows_padded, bias=False
        )
        self.acoustic_codebook_output = nn.Linear(c.dim, n, bias=False)

    def semantic_logits(self, hidden: Tensor) -> Tensor:
        """hidden [..., dim] -> logits [..., rows]; EMPTY and padding rows are -inf, END stays."""
        logits: Tensor = self.semantic_codebook_output(hidden)
        logits[..., 0] = -math.inf
        logits[..., self.semantic_rows :] = -math.inf
        return logits

    def velocity(self, x: Tensor, times: Tensor, hidden: Tensor) -> Tensor:
        """x [B, n], times [B], hidden [B, input_dim] -> dx/dt [B, n]."""
        time_token = self.time_projection(time_embedding(times, self.config.dim))
        tokens = [self.input_projection(x), time_token, self.llm_projection(hidden)]
        y = torch.stack(tokens, dim=1)
        for layer in self.layers:
            y = layer(y)
        return self.acoustic_codebook_output(self.norm(y[:, 0]))

    def guided_velocity(self, x: Tensor, time: float, hidden: Tensor, guidance: float) -> Tensor:
        """guidance * v(hidden) + (1 - guidance) * v(0); the zeros enter before llm_projection."""
        times = torch.full((2 * len(x),), time, dtype=x.dtype, device=x.device)
        both = torch.cat([hidden, torch.zeros_like(hidden)])
        conditional, null = self.velocity(torch.cat([x, x]), times, both).chunk(2)
        return guidance * conditional + (1 - guidance) * null

    def sample(self, hidden: Tensor, noise: Tensor, sampling: Sampling = PUBLISHED) -> Tensor:
        """Integrate from noise [B, n] at t=0 to latents [B, n] at t=1 (not clamped)."""

        def velocity(x: Tensor, time: float) -> Tensor:
            guidance = guidance_at(time, sampling.guidance, sampling.guidance_interval)
            return self.guided_velocity(x, time, hidden, guidance)

        x, v_before, dt_before = noise, None, 0.0
        for t, t_next in itertools.pairwise(time_grid(sampling.grid, sampling.steps)):
            dt = t_next - t
            slope = v = velocity(x, t)
            if sampling.solver == "midpoint":
                slope = velocity(x + dt / 2 * v, t + dt / 2)
            elif sampling.solver == "heun" and t_next < 1:
                slope = (v + velocity(x + dt * v, t_next)) / 2
            elif sampling.solver == "adams-bashforth" and v_before is not None:
                slope = v + dt / 2 * (v - v_before) / dt_before
            x, v_before, dt_before = x + dt * slope, v, dt
        return x


def quantize_latents(latents: Tensor, levels: int) -> Tensor:
    """FSQ codes round((clamp(x) + 1) / 2 * (levels - 1)), half to even; int64, without the +2."""
    return ((latents.clamp(-1, 1) + 1) / 2 * (levels - 1)).round().long()
