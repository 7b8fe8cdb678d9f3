"""Pieces that stand alone: ALiBi slopes, RoPE, RMSNorm."""

from __future__ import annotations

import math

import pytest
import torch
from tests.oracle import codec, layers
from tests.oracle.compare import EXACT, difference, normal

from flowvox.reference.codec_layers import alibi_slopes
from flowvox.reference.layers import RMSNorm, apply_rope, rope_table


@pytest.mark.parametrize(
    ("n_heads", "exponents"),
    [
        (1, [0]),
        (2, [0, 4]),
        (3, [0, 4, 0]),
        (4, [0, 2, 4, 6]),
        (6, [0, 2, 4, 6, 0, 2]),
        (8, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_alibi_slopes_start_at_one(n_heads: int, exponents: list[int]) -> None:
    """Written out by hand; ports that start at 1/2 (8 heads) double the bias of every head."""
    assert alibi_slopes(n_heads) == [2.0**-e for e in exponents]


@pytest.mark.parametrize("n_heads", range(1, 34))
def test_alibi_slopes_of_any_number_of_heads(n_heads: int) -> None:
    assert difference(alibi_slopes(n_heads), codec.alibi_slopes(n_heads)) < EXACT


@pytest.mark.parametrize("theta", [500.0, 1e6])
def test_rope_turns_neighbouring_pairs(theta: float) -> None:
    heads = normal((9, 3, 10), 0)  # [positions, heads, head_dim]
    x = torch.from_numpy(heads).transpose(0, 1)[None]
    table = rope_table(torch.arange(9), 10, theta, torch.float64)
    turned = apply_rope(x.contiguous(), table)[0].transpose(0, 1)
    assert difference(turned, layers.rotate_all(heads, theta)) < EXACT


def test_rope_of_a_published_head_by_hand() -> None:
    """Position 3, pair 1 of head_dim 128: (1, 0) becomes (cos, sin) of 3 * 1e6^(-2/128)."""
    x = torch.zeros(1, 1, 1, 128, dtype=torch.float64)
    x[..., 2] = 1
    turned = apply_rope(x, rope_table(torch.tensor([3]), 128, 1e6, torch.float64)).flatten()
    angle = 3 * 1e6 ** (-2 / 128)
    assert turned[2].item() == pytest.approx(math.cos(angle), abs=1e-15)
    assert turned[3].item() == pytest.approx(math.sin(angle), abs=1e-15)
    assert turned.count_nonzero() == 2


def test_rms_norm_keeps_the_mean_and_adds_eps_inside_the_root() -> None:
    norm = RMSNorm(6, eps=0.5).double()
    norm.weight.data = torch.from_numpy(normal((6,), 1))
    x = normal((4, 6), 2) + 3
    expected = layers.rms_norm(x, norm.weight.detach().numpy(), 0.5)
    assert difference(norm(torch.from_numpy(x)).detach(), expected) < EXACT


def test_rms_norm_of_float16_reduces_in_float32() -> None:
    """The squares of 300 are beyond float16."""
    norm = RMSNorm(64, eps=1e-5).half()
    ours = norm(torch.full((64,), 300.0, dtype=torch.float16)).detach()
    assert difference(ours, torch.ones(64)) < 2**-10
