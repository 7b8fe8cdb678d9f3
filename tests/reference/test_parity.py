"""The torch reference in float64 against the independent numpy spelling, module by module."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.oracle import model as oracle

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.flow import quantize_latents
from flowvox.reference.generate import decode_audio, generate, teacher_forced
from flowvox.reference.model import VoxtralTTS, load_model


@pytest.fixture(scope="module")
def checkpoint(random_micro: Path) -> Checkpoint:
    return Checkpoint.open(random_micro)


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> VoxtralTTS:
    return load_model(checkpoint, torch.float64)


@pytest.fixture(scope="module")
def tensors(checkpoint: Checkpoint) -> oracle.Tensors:
    return {name: checkpoint.read(name).astype(np.float64) for name in checkpoint.shapes}


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def codes(reference: VoxtralTTS) -> np.ndarray:
    generator = np.random.default_rng(4)
    c = reference.config.codec
    acoustic = generator.integers(c.acoustic_codebook_size, size=(9, c.acoustic_dim))
    semantic = generator.integers(c.semantic_codebook_size, size=(9, 1))
    return np.concatenate([semantic, acoustic], axis=1)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_backbone(reference: VoxtralTTS, tensors: oracle.Tensors, rng: np.random.Generator) -> None:
    x = rng.normal(size=(12, reference.config.backbone.dim))
    hidden = reference.backbone(torch.from_numpy(x)[None])[0].detach().numpy()
    assert distance(hidden, oracle.backbone(x, tensors, reference.config)) < 1e-12


def test_backbone_step_by_step_equals_one_pass(reference: VoxtralTTS) -> None:
    x = torch.randn(1, 14, reference.config.backbone.dim, dtype=torch.float64)
    cache = reference.backbone.new_cache(14)
    parts = [reference.backbone(part, cache) for part in x.split([7, 1, 4, 1, 1], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), reference.backbone(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_flow_head(
    reference: VoxtralTTS, tensors: oracle.Tensors, rng: np.random.Generator, solver: str
) -> None:
    config = reference.config
    hidden = rng.normal(size=(3, config.backbone.dim))
    noise = rng.normal(size=(3, config.codec.acoustic_dim))
    ours = reference.flow.sample(torch.from_numpy(hidden), torch.from_numpy(noise), 5, 1.4, solver)
    for h, n, latent in zip(hidden, noise, ours.detach().numpy(), strict=True):
        expected = oracle.sample(h, n, tensors, config, 5, 1.4, solver)
        assert distance(latent, expected) < 1e-12


def test_codec_decoder(reference: VoxtralTTS, tensors: oracle.Tensors, codes: np.ndarray) -> None:
    ours = reference.codec.decode(torch.from_numpy(codes)[None])[0].detach().numpy()
    assert distance(ours, oracle.decode(codes, tensors, reference.config)) < 1e-11


@pytest.mark.parametrize("patches", [1, 5, 6, 7, 8, 40, 41])
@pytest.mark.parametrize("ragged", [0, 5])
def test_codec_encoder(
    reference: VoxtralTTS,
    tensors: oracle.Tensors,
    rng: np.random.Generator,
    patches: int,
    ragged: int,
) -> None:
    c = reference.config.codec
    samples = rng.normal(size=patches * c.patch_size - ragged)
    ours = reference.codec.encode(torch.from_numpy(samples)[None])[0].numpy()
    assert len(ours) == -(-len(samples) // c.frame_samples)
    np.testing.assert_array_equal(ours, oracle.encode(samples, tensors, reference.config))


def test_generation_code_by_code(reference: VoxtralTTS, tensors: oracle.Tensors) -> None:
    config = reference.config
    frames = endings = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        prompt = rng.normal(size=(6, config.backbone.dim))
        noise = rng.normal(size=(6, config.codec.acoustic_dim))
        ours = generate(reference, torch.from_numpy(prompt), torch.from_numpy(noise))
        expected, ended = oracle.generate(prompt, noise, tensors, config)
        assert ours.codes.tolist() == expected.tolist()
        assert ours.ended == ended
        frames, endings = frames + len(expected), endings + ended
    assert frames >= 10  # otherwise nothing was compared
    assert endings < 8


def test_teacher_forcing_says_what_generation_did(reference: VoxtralTTS) -> None:
    config = reference.config
    torch.manual_seed(5)
    prompt = torch.randn(6, config.backbone.dim, dtype=torch.float64)
    noise = torch.randn(9, config.codec.acoustic_dim, dtype=torch.float64)
    codes = generate(reference, prompt, noise[:8]).codes
    said = teacher_forced(reference, prompt, torch.from_numpy(codes), noise[: len(codes) + 1])
    assert len(codes) >= 2
    picks = said.semantic_logits.argmax(-1).numpy() - 2
    np.testing.assert_array_equal(picks[: len(codes)], codes[:, 0])
    levels = quantize_latents(said.latents, config.codec.acoustic_codebook_size)
    np.testing.assert_array_equal(levels[: len(codes)].numpy(), codes[:, 1:])


def test_codec_is_causal(reference: VoxtralTTS, codes: np.ndarray) -> None:
    """A prefix of the codes decodes to a prefix of the samples: there is no look-ahead."""
    whole = reference.codec.decode(torch.from_numpy(codes)[None])
    part = reference.codec.decode(torch.from_numpy(codes[:4])[None])
    torch.testing.assert_close(whole[:, : part.shape[1]], part, rtol=0, atol=1e-12)


def test_no_frames_decode_to_no_samples(reference: VoxtralTTS) -> None:
    empty = np.zeros((0, reference.config.n_codebooks), dtype=np.int32)
    assert decode_audio(reference, empty).shape == (0,)


def test_rounding_is_half_to_even() -> None:
    latents = torch.tensor([-0.75, -0.25, 0.25, 0.75, 2.0, -2.0])
    assert quantize_latents(latents, 5).tolist() == [0, 2, 2, 4, 4, 0]


class TestWrongPortsAreNoticed:
    """Each classic error of a port moves the oracle far away from the reference."""

    @pytest.mark.parametrize(
        "wrong",
        [{"first_slope_exponent": 1}, {"window_extra": -1}, {"window_extra": 1},
         {"output_pad": "edge"}, {"input_pad": "reflect"}, {"cut_right": False},
         {"norm_before_split": False}],
    )  # fmt: skip
    def test_codec(
        self,
        reference: VoxtralTTS,
        tensors: oracle.Tensors,
        codes: np.ndarray,
        wrong: dict[str, object],
    ) -> None:
        variant = dataclasses.replace(oracle.RIGHT, **wrong)
        ours = reference.codec.decode(torch.from_numpy(codes)[None])[0].detach().numpy()
        assert distance(oracle.decode(codes, tensors, reference.config, variant), ours) > 1e-4

    @pytest.mark.parametrize(
        "wrong", [{"cosine_first": False}, {"time_scale": 1000.0}, {"null_after_projection": True}]
    )
    def test_flow(
        self, reference: VoxtralTTS, tensors: oracle.Tensors, wrong: dict[str, object]
    ) -> None:
        config = reference.config
        generator = np.random.default_rng(2)
        hidden = generator.normal(size=config.backbone.dim)
        noise = generator.normal(size=config.codec.acoustic_dim)
        variant = dataclasses.replace(oracle.RIGHT, **wrong)
        right = oracle.sample(hidden, noise, tensors, config)
        assert (
            distance(oracle.sample(hidden, noise, tensors, config, variant=variant), right) > 1e-3
        )

    def test_rope_pairs(self, reference: VoxtralTTS, tensors: oracle.Tensors) -> None:
        x = np.random.default_rng(3).normal(size=(9, reference.config.backbone.dim))
        halves = dataclasses.replace(oracle.RIGHT, interleaved_rope=False)
        wrong = oracle.backbone(x, tensors, reference.config, halves)
        assert distance(wrong, oracle.backbone(x, tensors, reference.config)) > 1e-3

    def test_half_up_rounding(self) -> None:
        up = dataclasses.replace(oracle.RIGHT, half_even=False)
        tie = np.array([-0.75])
        assert oracle.fsq(tie, 5, up) != oracle.fsq(tie, 5)
