"""The codec's training: what the decoder is given, what it starts from, and that stages go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.reference.training.made_up import make_work

from flowvox.config import ModelConfig
from flowvox.reference.training import codec, semantics


def test_encoder_starts_as_a_spectrum_and_decoder_as_its_mirror(tmp_path: Path) -> None:
    make_work(tmp_path)
    config = ModelConfig.load(tmp_path / "params.json")
    made = codec.new_codec(config, np.zeros((512, 32), np.float32))
    assert made.input_proj is not None
    analysis, synthesis = made.input_proj.conv.weight, made.output_proj.conv.weight
    torch.testing.assert_close(
        synthesis, codec.SYNTHESIS_GAIN * analysis.flip(1).transpose(0, 1), atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("hard", [True, False])
def test_the_decoder_gets_values_near_the_encoders(tmp_path: Path, hard: bool) -> None:
    make_work(tmp_path)
    torch.manual_seed(0)
    vectors = np.random.default_rng(0).standard_normal((512, 32)).astype(np.float32)
    made = codec.new_codec(ModelConfig.load(tmp_path / "params.json"), vectors)
    latents = torch.randn(2, 68, 5, requires_grad=True)
    given, wanted = codec.coded(made, latents, torch.zeros(2, 5, dtype=torch.long), hard)
    torch.testing.assert_close(wanted[0, :, 0], torch.from_numpy(vectors[0]))
    error = (given[:, 32:] - latents[:, 32:].tanh()).abs()
    assert error.max() < 0.05 + 5 * codec.LATENT_NOISE
    given[:, 32:].sum().backward()  # type: ignore[no-untyped-call]
    assert latents.grad is not None
    assert (latents.grad[:, 32:] > 0).all()  # rounding passes the gradient through


def test_stages_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = make_work(tmp_path)
    semantics.fit(speech, 512, 32, "cpu").save(tmp_path / "semantics.npz")
    monkeypatch.setattr(codec, "CRITICS_FROM", -1)
    one_step = {"minutes": 1e-6, "batch": 2, "device": "cpu"}
    codec.train(tmp_path, lr=1e-3, decoder_only=False, **one_step)
    codec.encode(tmp_path, "cpu")
    assert np.load(tmp_path / "codes.npy").shape == (speech.starts[-1], 36)
    codec.train(tmp_path, lr=1e-3, decoder_only=True, **one_step)
    before, after = codec.state_of(tmp_path / "codec"), codec.state_of(tmp_path / "decoder")
    assert set(after) < set(before)  # the encoder and the codebook stay
    assert all(name.startswith(("decoder_blocks.", "output_proj.")) for name in after)
    assert any(not torch.equal(before[name], after[name]) for name in after)
