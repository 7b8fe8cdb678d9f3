"""Measured damage: nothing where nothing changed, more with fewer bits, and the same as in the harness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flowvox.eval.forced import compare_latents, compare_logits
from flowvox.quantizers.allocation.candidates import rule_of
from flowvox.quantizers.allocation.damage import Damage, Outputs, Yardstick, added, compare
from flowvox.quantizers.allocation.groups import KV_CACHE, Group, all_groups
from flowvox.quantizers.allocation.sensitivity import Change, Measurer, rounded
from flowvox.quantizers.calibration.speech import Spoken
from flowvox.quantizers.encode import encode_matrix
from flowvox.recipe import Rule
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import VoxtralTTS, load_model

BITS = [Rule("*", "int8"), Rule("*", "int4"), Rule("*", "int2", block=64)]


@pytest.fixture
def model(micro: Checkpoint) -> VoxtralTTS:
    return load_model(micro)


def group(micro: Checkpoint, name: str) -> Group:
    return next(g for g in all_groups(micro.config) if g.name == name)


def change(model: VoxtralTTS, group: Group, rule: Rule) -> Change:
    weights = {}
    for name in group.tensors:
        exact = model.checkpoint_parameters()[name].detach().numpy()
        encoded = encode_matrix(exact, rule)
        weights[name] = torch.from_numpy(encoded.dequantized())  # type: ignore[union-attr]
    return Change(group, rule_of(group, rule, "search"), weights)


@pytest.mark.parametrize(
    "name", ["token embeddings", "code embeddings", "backbone 1 qkv", "flow 0 down"]
)
def test_the_same_weights_do_no_damage(
    micro: Checkpoint, model: VoxtralTTS, spoken: list[Spoken], name: str
) -> None:
    here = group(micro, name)
    same = {n: model.checkpoint_parameters()[n].detach().clone() for n in here.tensors}
    damage = Measurer(model, micro, spoken).damage([Change(here, Rule("*", "float32"), same)])
    assert damage.kld < 1e-10
    assert damage.latent < 1e-8


@pytest.mark.parametrize("name", ["backbone 0 down", "flow 1 out"])
def test_fewer_bits_do_more_damage_and_most_where_it_was_planted(
    micro: Checkpoint, model: VoxtralTTS, spoken: list[Spoken], name: str
) -> None:
    planted = group(micro, name)
    for tensor in planted.tensors:  # its outputs count thirty times as much as its neighbours'
        model.checkpoint_parameters()[tensor].data *= 30
    measurer = Measurer(model, micro, spoken)
    eight, four, two = (measurer.damage([change(model, planted, rule)]) for rule in BITS)
    assert eight.latent < four.latent < two.latent
    other = group(micro, name.replace("down", "out") if "down" in name else "flow 1 down")
    figure = "kld" if planted.component == "backbone" else "latent"
    elsewhere = measurer.damage([change(model, other, BITS[1])])
    assert getattr(elsewhere, figure) < getattr(four, figure)


def test_the_model_is_as_it_was_afterwards(
    micro: Checkpoint, model: VoxtralTTS, spoken: list[Spoken]
) -> None:
    before = {n: p.detach().clone() for n, p in model.checkpoint_parameters().items()}
    measurer = Measurer(model, micro, spoken)
    first = measurer.damage([change(model, group(micro, "flow 0 qkv"), BITS[2])])
    for name, parameter in model.checkpoint_parameters().items():
        assert torch.equal(parameter, before[name])
    assert measurer.damage([change(model, group(micro, "flow 0 qkv"), BITS[2])]) == first


def test_a_cache_in_8_bits_costs_little_and_something(
    micro: Checkpoint, model: VoxtralTTS, spoken: list[Spoken]
) -> None:
    measurer = Measurer(model, micro, spoken)
    cache = Change(KV_CACHE, Rule("kv_cache", "int8"), {})
    damage = measurer.damage([cache])
    four = measurer.damage([change(model, group(micro, "backbone 0 qkv"), BITS[1])])
    assert 0 < damage.kld < four.kld / 2
    both = measurer.damage([cache, change(model, group(micro, "backbone 0 qkv"), BITS[1])])
    assert both.kld != four.kld
    assert measurer.damage([cache]) == damage


def test_figures_are_those_of_the_harness() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(6, 20)).astype(np.float32)
    ours = base + rng.normal(size=base.shape).astype(np.float32) / 4
    latents = rng.normal(size=(6, 5)).astype(np.float32) / 2
    moved = latents + rng.normal(size=latents.shape).astype(np.float32) / 20
    ends = torch.arange(6) == 5
    damage = compare(
        Outputs(torch.from_numpy(ours), torch.from_numpy(moved)),
        Outputs(torch.from_numpy(base), torch.from_numpy(latents)),
        torch.ones(6), ends, 7,
    )  # fmt: skip
    rows = compare_logits(ours, base, True)
    assert damage.kld == pytest.approx(rows["kld"].mean())
    assert damage.end_margin == pytest.approx(abs(rows["end_margin"][-1]))
    exact = compare_latents(moved, latents, 7)["fsq_exact"].mean()
    assert damage.fsq == pytest.approx(1 - exact)


def test_inputs_are_rounded_by_block_or_by_row() -> None:
    x = torch.tensor([[1.0, 0.004, 100.0, 30.0]])
    assert torch.allclose(rounded(x, 2), x, atol=0.4)
    assert rounded(x, 2)[0, 1] > 0
    assert rounded(x, None)[0, 1] == 0
    assert rounded(x, 3).shape == x.shape


def test_damage_adds_up_and_is_weighed() -> None:
    a = Damage(0.1, 0.2, 0.3, 0.3)
    both = added([a, Damage(0.1, 0.2, 0.4, 0.4)])
    assert (both.kld, both.latent, both.fsq, both.end_margin) == pytest.approx((0.2, 0.4, 0.5, 0.5))
    assert Yardstick(0.1, 0.2).loss(a) == pytest.approx(1)
