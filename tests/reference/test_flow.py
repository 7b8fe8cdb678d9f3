"""The torch flow head against the oracle, and the errors that ports of it make (format B.5, B.6)."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import backbone, layers
from tests.oracle import flow as oracle
from tests.oracle.compare import EXACT, NOTICED, Pair, difference, normal
from tests.oracle.layers import Array, Tensors

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.flow import quantize_latents, time_embedding
from flowvox.reference.model import load_model
from flowvox.schedule import Sampling

BATCH = 4


def hidden_and_noise(pair: Pair) -> tuple[Array, Array]:
    """What the head is given: hidden states of the backbone, and draws."""
    x = 0.5 * normal((BATCH, pair.config.backbone.dim), 6)
    hidden = backbone.hidden_states(x, pair.tensors, pair.config)
    return hidden, normal((BATCH, pair.config.codec.acoustic_dim), 7)


def oracle_latents(pair: Pair, *sampling: Any) -> Array:
    """sampling: steps, guidance, solver, grid, interval."""
    hidden, noise = hidden_and_noise(pair)
    return np.array(
        [
            oracle.sample(n, h, pair.tensors, pair.config, *sampling)
            for h, n in zip(hidden, noise, strict=True)
        ]
    )


# Every solver, every grid, guidance everywhere, nowhere and in a part of the way.
SAMPLINGS = [
    Sampling("euler", 1, 1.2),
    Sampling("euler", 8, 1.0, "late"),
    Sampling("midpoint", 3, 2.5, "uniform", (0.3, 0.6)),
    Sampling("midpoint", 7, 1.2, "sway"),
    Sampling("euler", 3, 1.2, "tail"),
    Sampling("heun", 2, 1.2),
    Sampling("heun", 3, 2.5, "cosine", (0.5, 1.0)),
    Sampling("adams-bashforth", 2, 1.2),
    Sampling("adams-bashforth", 5, 2.5, "sway", (0.1, 0.4)),
]


def as_the_oracle_takes_it(s: Sampling) -> tuple[Any, ...]:
    return s.steps, s.guidance, s.solver, s.grid, s.guidance_interval


@pytest.fixture(scope="module")
def default_latents(micro: Pair) -> Array:
    """The torch head with its own defaults: 7 Euler steps, guidance 1.2."""
    hidden, noise = hidden_and_noise(micro)
    return micro.model.flow.sample(torch.from_numpy(hidden), torch.from_numpy(noise)).numpy()


@pytest.mark.parametrize("t", [0.0, 1 / 7, 0.5, 1.0])
@pytest.mark.parametrize("dim", [2, 10, 3072])
def test_time_embedding(t: float, dim: int) -> None:
    times = torch.tensor([t], dtype=torch.float64)
    assert difference(time_embedding(times, dim)[0], oracle.time_embedding(t, dim)) < EXACT


def test_time_embedding_by_hand() -> None:
    """f_1 of the published width is 10000^(-1/1536); cosines fill the first half."""
    row = time_embedding(torch.tensor([0.5], dtype=torch.float64), 3072)[0]
    assert row[1].item() == pytest.approx(math.cos(0.5 * 10000 ** (-1 / 1536)), abs=1e-15)
    assert row[1537].item() == pytest.approx(math.sin(0.5 * 10000 ** (-1 / 1536)), abs=1e-15)


def test_velocity(pair: Pair) -> None:
    hidden, x = hidden_and_noise(pair)
    times = np.array([0.0, 0.3, 0.9, 1.0])
    velocity = pair.model.flow.velocity(*map(torch.from_numpy, (x, times, hidden)))
    rows = zip(x, times, hidden, strict=True)
    expected = [oracle.velocity(*row, pair.tensors, pair.config) for row in rows]
    assert difference(velocity, expected) < EXACT


def test_defaults_are_seven_euler_steps_and_guidance_1_2(
    micro: Pair, default_latents: Array
) -> None:
    assert difference(default_latents, oracle_latents(micro, 7, 1.2, "euler")) < EXACT


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_latents(pair: Pair, sampling: Sampling) -> None:
    tensors = map(torch.from_numpy, hidden_and_noise(pair))
    latents = pair.model.flow.sample(*tensors, sampling)
    expected = oracle_latents(pair, *as_the_oracle_takes_it(sampling))
    assert difference(latents, expected) < EXACT


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_schedule_of_the_flow_graph(micro: Pair, sampling: Sampling) -> None:
    """The rows that drive the exported graph, read by the formula in flowvox.graphs."""
    hidden, noise = hidden_and_noise(micro)
    x, previous = noise[0], np.zeros_like(noise[0])
    for time, guidance, advance, weight, previous_weight in sampling.schedule():
        z = x + advance * previous
        v = oracle.guided_velocity(z, time, hidden[0], micro.tensors, micro.config, guidance)
        x, previous = x + weight * v + previous_weight * previous, v
    expected = oracle_latents(micro, *as_the_oracle_takes_it(sampling))[0]
    assert difference(x, expected) < 1e-6  # float32 rows


right_embedding, right_tokens = oracle.time_embedding, oracle.tokens


def sines_first(t: float, dim: int) -> Array:
    return np.roll(right_embedding(t, dim), dim // 2)


def frequencies_to_the_end(t: float, dim: int) -> Array:
    """i / (half - 1), as in the sinusoidal embedding of DDPM."""
    half = dim // 2
    angles = t * np.exp(-np.log(10000) * np.arange(half) / (half - 1))
    return np.concatenate([np.cos(angles), np.sin(angles)])


def without_the_null_token(x: Array, t: float, h: Array, tensors: Tensors, config: Any) -> Array:
    rows = right_tokens(x, t, h, tensors, config)
    return rows if h.any() else rows[:2]


def latent_token_last(x: Array, t: float, h: Array, tensors: Tensors, config: Any) -> Array:
    return right_tokens(x, t, h, tensors, config)[::-1]


def causal_network(sequence: Array, tensors: Tensors, config: Any) -> Array:
    for i in range(config.flow.n_layers):
        prefix = f"{oracle.PREFIX}layers.{i}."
        sequence = layers.transformer_layer(
            sequence, tensors, prefix, config.flow.head_dim, 1e-5, layers.causal, None
        )
    return layers.rms_norm(sequence, tensors[f"{oracle.PREFIX}norm.weight"], 1e-5)


def rotary_network(sequence: Array, tensors: Tensors, config: Any) -> Array:
    """params.json has a rope_theta for the head; it is inert."""
    for i in range(config.flow.n_layers):
        prefix = f"{oracle.PREFIX}layers.{i}."
        sequence = layers.transformer_layer(
            sequence, tensors, prefix, config.flow.head_dim, 1e-5, layers.unmasked, 10000.0
        )
    return layers.rms_norm(sequence, tensors[f"{oracle.PREFIX}norm.weight"], 1e-5)


def token_42(hidden: Array, tensors: Tensors) -> Array:
    return tensors[backbone.TOKENS][42]


def null_after_projection(x: Array, t: float, h: Array, tensors: Tensors, config: Any) -> Array:
    """The token of the null condition replaced by something that is not zero."""
    rows = right_tokens(x, t, h, tensors, config)
    return rows if h.any() else np.array([*rows[:2], np.ones(config.flow.dim)])


ERRORS: dict[str, tuple[ModuleType, str, Any]] = {
    "sines before cosines": (oracle, "time_embedding", sines_first),
    "t times 1000": (oracle, "time_embedding", lambda t, dim: right_embedding(1000 * t, dim)),
    "frequencies over half - 1": (oracle, "time_embedding", frequencies_to_the_end),
    "time from 1 to 0": (oracle, "time_embedding", lambda t, dim: right_embedding(1 - t, dim)),
    "6 steps": (oracle, "time_grid", lambda *_: list(np.linspace(0, 1, 7))),
    "8 steps": (oracle, "time_grid", lambda *_: list(np.linspace(0, 1, 9))),
    "integrated backwards": (oracle, "time_grid", lambda n, _: list(np.linspace(1, 0, n + 1))),
    "no guidance": (oracle, "combine", lambda v, _v0, _guidance: v),
    "guidance on top of v": (oracle, "combine", lambda v, v0, g: v + g * (v - v0)),
    "branches of guidance swapped": (oracle, "combine", lambda v, v0, g: g * v0 + (1 - g) * v),
    "null condition is token 42": (oracle, "null_condition", token_42),
    "null condition has no token": (oracle, "tokens", without_the_null_token),
    "null condition after the projection": (oracle, "tokens", null_after_projection),
    "velocity read at the wrong token": (oracle, "tokens", latent_token_last),
    "causal mask in the head": (oracle, "network", causal_network),
    "RoPE in the head": (oracle, "network", rotary_network),
    "kv heads dealt out in turn": (layers, "kv_head", lambda h, _, n_kv: h % n_kv),
}


@pytest.mark.parametrize("error", ERRORS)
def test_port_error_is_noticed(
    micro: Pair, default_latents: Array, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*ERRORS[error])
    assert difference(default_latents, oracle_latents(micro)) > NOTICED


def test_order_of_time_and_condition_is_free(micro: Pair) -> None:
    """Not an error: without positions and mask, only the latent's place matters."""
    hidden, x = hidden_and_noise(micro)
    rows = oracle.tokens(x[0], 0.4, hidden[0], micro.tensors, micro.config)
    out = [
        oracle.network(rows[order], micro.tensors, micro.config)[0]
        for order in ([0, 1, 2], [0, 2, 1])
    ]
    assert difference(*out) < EXACT


def test_each_row_of_a_batch_stands_alone(micro: Pair, default_latents: Array) -> None:
    hidden, noise = map(torch.from_numpy, hidden_and_noise(micro))
    for i in range(BATCH):
        alone = micro.model.flow.sample(hidden[i : i + 1], noise[i : i + 1])
        assert difference(alone[0], default_latents[i]) < EXACT


def test_float32_is_close_to_float64(micro: Pair, default_latents: Array) -> None:
    single = load_model(Checkpoint.open(micro.path))
    hidden, noise = (torch.from_numpy(a).float() for a in hidden_and_noise(micro))
    assert 0 < difference(single.flow.sample(hidden, noise), default_latents) < 1e-5


# ---- semantic code ---------------------------------------------------------------------------


def picks(pair: Pair) -> list[int]:
    hidden = normal((300, pair.config.backbone.dim), 8)
    return [oracle.semantic_value(h, pair.tensors, pair.config) for h in hidden]


def test_semantic_value(pair: Pair) -> None:
    hidden = torch.from_numpy(normal((300, pair.config.backbone.dim), 8))
    logits = pair.model.flow.semantic_logits(hidden)
    assert logits.argmax(dim=-1).tolist() == picks(pair)
    allowed = list(oracle.allowed_values(pair.config))
    expected = [oracle.semantic_logits(h, pair.tensors)[allowed] for h in hidden.numpy()]
    assert difference(logits[:, allowed], expected) < EXACT


MASK_ERRORS: dict[str, Any] = {
    "EMPTY can be picked": lambda c: range(c.semantic_rows),
    "END is masked": lambda c: range(2, c.semantic_rows),
    "padding of the head can be picked": lambda c: range(1, c.semantic_rows_padded),
    "the last two codes are masked": lambda c: range(1, c.semantic_rows - 2),
}


@pytest.mark.parametrize("error", MASK_ERRORS)
def test_mask_error_is_noticed(micro: Pair, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = picks(micro)
    monkeypatch.setattr(oracle, "allowed_values", MASK_ERRORS[error])
    assert sum(a != b for a, b in zip(picks(micro), right, strict=True)) > 3


# ---- acoustic codes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latent", "code"),
    [(-0.75, 2), (-0.25, 8), (0.25, 12), (0.75, 18), (1.7, 20), (-3.0, 0), (0.06, 11)],
)
def test_ties_go_to_the_even_code(latent: float, code: int) -> None:
    """21 levels: -0.75 lies exactly between 2 and 3, and 0.25 between 12 and 13."""
    assert quantize_latents(torch.tensor([latent], dtype=torch.float64), 21).tolist() == [code]
    assert oracle.quantize(np.array([latent]), 21).tolist() == [code]


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        ("half up", lambda y: math.floor(y + 0.5)),
        ("half away from zero", lambda y: int(y + 0.5)),
        ("truncated", math.floor),
    ],
)
def test_rounding_error_is_noticed(error: str, wrong: Any) -> None:
    latents = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    scaled = ((latents + 1) / 2 * 20).tolist()
    assert quantize_latents(latents, 21).tolist() != [wrong(y) for y in scaled]


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=20), st.integers(2, 30))
def test_quantization_of_any_latent(latents: list[float], levels: int) -> None:
    ours = quantize_latents(torch.tensor(latents, dtype=torch.float64), levels)
    assert ours.tolist() == oracle.quantize(np.array(latents), levels).tolist()
