"""The streamed reference is the reference: same code, same numbers, weights read when used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowvox.errors import VoiceError
from flowvox.reference.activations import FRAMES, record
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import generate
from flowvox.reference.model import VoxtralTTS, load_model
from flowvox.reference.speak import embed_prompt
from flowvox.reference.streamed import load_part, streamed_model
from flowvox.tensors import FLOW, TOKEN_EMBEDDINGS


@pytest.fixture(scope="module")
def checkpoint(tiny: Path) -> Checkpoint:
    return Checkpoint.open(tiny)


@pytest.fixture(scope="module")
def whole(checkpoint: Checkpoint) -> VoxtralTTS:
    return load_model(checkpoint)


def test_the_same_codes_frame_by_frame(checkpoint: Checkpoint, whole: VoxtralTTS) -> None:
    streamed = streamed_model(checkpoint)
    load_part(streamed.flow, FLOW, checkpoint)
    voice = next(iter(checkpoint.voices()))
    prompt = embed_prompt(streamed, checkpoint, "One two three.", voice)
    assert torch.equal(prompt, embed_prompt(whole, checkpoint, "One two three.", voice))
    noise = torch.randn(5, checkpoint.config.codec.acoustic_dim)
    ours, theirs = generate(streamed, prompt, noise), generate(whole, prompt, noise)
    np.testing.assert_array_equal(ours.codes, theirs.codes)


def test_no_backbone_weight_stays(checkpoint: Checkpoint) -> None:
    read: list[int] = []
    streamed = streamed_model(checkpoint, read.append)
    layers = checkpoint.config.backbone.n_layers
    with torch.inference_mode():
        for _ in range(2):
            streamed.backbone(torch.zeros(1, 3, checkpoint.config.backbone.dim))
    assert len(read) == 2 * layers
    assert [name for name, _ in streamed.backbone.named_parameters()] == ["norm.weight"]


def test_the_recording_is_what_the_whole_model_computes(
    checkpoint: Checkpoint, whole: VoxtralTTS
) -> None:
    told: list[tuple[int, int]] = []
    activations = record(checkpoint, lambda done, total: told.append((done, total)))
    with torch.inference_mode():
        feeds, outputs, _ = activations["backbone"]
        hidden = whole.backbone(torch.from_numpy(feeds["embeddings"]))
        np.testing.assert_allclose(outputs["hidden"], hidden.numpy(), rtol=0, atol=1e-4)
        feeds, outputs, _ = activations["flow"]
        assert len(feeds["hidden"]) == FRAMES + 1
        latents = whole.flow.sample(*(torch.from_numpy(feeds[k]) for k in ("hidden", "noise")))
        np.testing.assert_allclose(outputs["latents"], latents.numpy(), rtol=0, atol=1e-5)
        feeds, outputs, _ = activations["codec_decoder"]
        samples = whole.codec.decode(torch.from_numpy(feeds["codes"]))
        np.testing.assert_allclose(outputs["samples"], samples.numpy(), rtol=0, atol=1e-5)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def test_the_token_table_is_never_read_whole(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Checkpoint.read

    def careful(self: Checkpoint, name: str) -> np.ndarray:
        assert name != TOKEN_EMBEDDINGS
        return read(self, name)

    monkeypatch.setattr(Checkpoint, "read", careful)
    record(checkpoint)


def test_a_checkpoint_without_voices_is_told_so(random_micro: Path, tmp_path: Path) -> None:
    for name in ("params.json", "tekken.json", "consolidated.safetensors"):
        (tmp_path / name).symlink_to(random_micro / name)
    with pytest.raises(VoiceError, match="no voices"):
        record(Checkpoint.open(tmp_path))
