"""From a training's folder to a checkpoint that reads back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.reference.training.made_up import FRAMES, TEXTS, make_work

from flowvox.config import ModelConfig
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.training import codec, export, pack, semantics
from flowvox.reference.training.language_model import LanguageModel
from flowvox.reference.training.lm import FROM_NOTHING
from flowvox.reference.training.text import text_hash
from flowvox.tensors import CODEC


def made_up_codes(work: Path) -> semantics.Semantics:
    """The made-up utterances in `work` with codes, all acoustic ones 0."""
    work.mkdir()
    made = semantics.fit(make_work(work), 512, 32, "cpu")
    made.save(work / "semantics.npz")
    np.save(work / "codes.npy", np.zeros((len(TEXTS) * FRAMES, 36), np.uint8))
    return made


def test_a_training_becomes_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, out, before = tmp_path / "work", tmp_path / "tiny", tmp_path / "before"
    before.mkdir()
    made = made_up_codes(work)
    np.savez(before / "spoken.npz", sentence=np.array([1]))
    config = ModelConfig.load(work / "params.json")
    parts = {
        "lm": LanguageModel(config, FROM_NOTHING),
        "codec": codec.new_codec(config, made.vectors),
        "decoder": codec.decoder_parts(codec.new_codec(config, made.vectors)),
    }
    for name, module in parts.items():
        (work / name).mkdir()
        torch.save({"average": module.state_dict()}, work / name / "latest.pt")
    monkeypatch.setattr(export, "PROMPT_SHORTEST", FRAMES)
    export.export(work, ("heart", "hart"), before=before)
    pack.pack(work, out)

    checkpoint = Checkpoint.open(out)
    assert checkpoint.has_encoder
    assert set(checkpoint.voices()) == {"heart", "hart"}
    assert checkpoint.voice("heart").shape == (pack.VOICE_FRAMES + 1, config.backbone.dim)
    trained = parts["lm"].backbone.norm.weight  # type: ignore[union-attr]
    np.testing.assert_allclose(checkpoint.read("norm.weight"), trained.detach().numpy())
    hashes = (out / "training-text-hashes.txt").read_text().split()
    assert set(hashes) == {text_hash(text) for text in TEXTS}
    with np.load(work / "export" / "prompts.npz") as prompts:
        assert prompts["codes"].shape == (prompts["lengths"].sum(), 37)


def test_going_on_keeps_the_codec_and_what_was_trained_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `unpack`, with `adapt` and an encoder trained anew."""
    work, before, out = tmp_path / "work", tmp_path / "before", tmp_path / "tiny"
    before.mkdir()
    made = made_up_codes(work)
    config = ModelConfig.load(work / "params.json")
    (work / "lm").mkdir()
    language = LanguageModel(config, FROM_NOTHING)
    torch.save({"average": language.state_dict()}, work / "lm" / "latest.pt")
    known = codec.new_codec(config, made.vectors)
    torch.save(known.state_dict(), before / "codec.pt")
    first = "input_proj.conv.parametrizations.weight.original1"
    (work / "encoder").mkdir()
    fresh = {first: torch.ones_like(known.state_dict()[first])}
    torch.save({"average": fresh}, work / "encoder" / "latest.pt")
    (before / pack.HASHES).write_text("0123456789abcdef\n")
    monkeypatch.setattr(export, "PROMPT_SHORTEST", FRAMES)
    export.export(work, ("heart", "hart"), before=before)
    pack.pack(work, out)

    name = "decoder_blocks.0.conv.parametrizations.weight.original1"
    expected = known.state_dict()[name].bfloat16().float().numpy()
    checkpoint = Checkpoint.open(out)
    np.testing.assert_array_equal(checkpoint.read(f"{CODEC}{name}"), expected)
    assert (checkpoint.read(f"{CODEC}{first}") == 1).all()
    hashes = (out / pack.HASHES).read_text().split()
    assert set(hashes) == {"0123456789abcdef", *map(text_hash, TEXTS)}
