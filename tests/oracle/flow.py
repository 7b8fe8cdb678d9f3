"""The semantic head and the flow-matching acoustic head (format B.5, B.6)."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from tests.oracle import layers
from tests.oracle.layers import Array, Tensors

PREFIX = "acoustic_transformer."
EPS = 1e-5
MAX_PERIOD = 10000.0
SPECIALS = 2


def semantic_logits(hidden: Array, tensors: Tensors) -> Array:
    return tensors[f"{PREFIX}semantic_codebook_output.weight"] @ hidden


def allowed_values(config: ModelConfig) -> range:
    """END and the real codes; neither EMPTY nor the padding of the head."""
    return range(1, config.codec.semantic_codebook_size + SPECIALS)


def semantic_value(hidden: Array, tensors: Tensors, config: ModelConfig) -> int:
    """The greedy value of codebook 0: 1 is END, a code is value - 2."""
    logits = semantic_logits(hidden, tensors)
    return max(allowed_values(config), key=lambda value: logits[value])


def time_embedding(t: float, dim: int) -> Array:
    """[cos(t f_0) .. cos(t f_n), sin(t f_0) .. sin(t f_n)], f_i = 10000^(-i/n), n = dim / 2."""
    half = dim // 2
    frequencies = [math.exp(-math.log(MAX_PERIOD) * i / half) for i in range(half)]
    cosines = [math.cos(t * f) for f in frequencies]
    return np.array(cosines + [math.sin(t * f) for f in frequencies])


def tokens(x: Array, t: float, hidden: Array, tensors: Tensors, config: ModelConfig) -> Array:
    """The three positions that the head attends over: latent, time, condition."""
    return np.array(
        [
            tensors[f"{PREFIX}input_projection.weight"] @ x,
            tensors[f"{PREFIX}time_projection.weight"] @ time_embedding(t, config.flow.dim),
            condition(hidden, tensors),
        ]
    )


def condition(hidden: Array, tensors: Tensors) -> Array:
    return tensors[f"{PREFIX}llm_projection.weight"] @ hidden


def network(sequence: Array, tensors: Tensors, config: ModelConfig) -> Array:
    """The head's layers and final norm over [3, dim]: no mask, no positions."""
    for i in range(config.flow.n_layers):
        sequence = layers.transformer_layer(
            sequence,
            tensors,
            f"{PREFIX}layers.{i}.",
            config.flow.head_dim,
            EPS,
            layers.unmasked,
            None,
        )
    return layers.rms_norm(sequence, tensors[f"{PREFIX}norm.weight"], EPS)


def velocity(x: Array, t: float, hidden: Array, tensors: Tensors, config: ModelConfig) -> Array:
    """Latent [n], time, condition [dim] -> velocity [n], read at the latent's position."""
    out = network(tokens(x, t, hidden, tensors, config), tensors, config)
    return tensors[f"{PREFIX}acoustic_codebook_output.weight"] @ out[0]


def null_condition(hidden: Array, tensors: Tensors) -> Array:
    return np.zeros_like(hidden)


def combine(conditional: Array, unconditional: Array, guidance: float) -> Array:
    return guidance * conditional + (1 - guidance) * unconditional


def guided_velocity(
    x: Array, t: float, hidden: Array, tensors: Tensors, config: ModelConfig, guidance: float
) -> Array:
    with_hidden = velocity(x, t, hidden, tensors, config)
    without = velocity(x, t, null_condition(hidden, tensors), tensors, config)
    return combine(with_hidden, without, guidance)


def time_grid(steps: int, grid: str = "uniform") -> list[float]:
    """The n + 1 ends of n steps from noise (0) to data (1)."""
    if grid == "tail":
        return [6 / 7 * i / max(1, steps - 1) for i in range(steps)] + [1.0]
    warp = {
        "uniform": lambda u: u,
        "sway": lambda u: u - (math.cos(math.pi / 2 * u) - 1 + u),  # F5-TTS, coefficient -1
        "late": lambda u: math.cos(math.pi / 2 * (1 - u)),
        "cosine": lambda u: math.sin(math.pi / 2 * u) ** 2,
    }[grid]
    return [warp(i / steps) for i in range(steps + 1)]


def sample(
    noise: Array,
    hidden: Array,
    tensors: Tensors,
    config: ModelConfig,
    steps: int = 7,
    guidance: float = 1.2,
    solver: str = "euler",
    grid: str = "uniform",
    interval: tuple[float, float] = (0.0, 1.0),
) -> Array:
    """Integrate the guided velocity from `noise` [n] at t = 0 to the latents [n] at t = 1."""

    def slope_at(x: Array, t: float) -> Array:
        scale = 1.0 if t < interval[0] or t > interval[1] else guidance
        return guided_velocity(x, t, hidden, tensors, config, scale)

    x = noise
    known: list[tuple[float, Array]] = []  # (time, slope) at the start of each step
    edges = time_grid(steps, grid)
    for left, right in itertools.pairwise(edges):
        step = right - left
        slope = slope_at(x, left)
        known.append((left, slope))
        if solver == "midpoint":
            slope = slope_at(x + step / 2 * slope, left + step / 2)
        elif solver == "heun" and right != edges[-1]:
            slope = 0.5 * slope + 0.5 * slope_at(x + step * slope, right)
        elif solver == "adams-bashforth" and len(known) > 1:
            # The line through the last two slopes, at the middle of the step.
            (before, old), (now, new) = known[-2:]
            slope = old + (left + step / 2 - before) / (now - before) * (new - old)
        x = x + step * slope
    return x


def quantize(latents: Array, levels: int) -> NDArray[np.int64]:
    """Latents [n] -> codes 0 .. levels - 1; Python's round() takes ties to the even code."""
    codes = []
    for value in latents:
        clamped = min(max(float(value), -1.0), 1.0)
        codes.append(round((clamped + 1) / 2 * (levels - 1)))
    return np.array(codes)
