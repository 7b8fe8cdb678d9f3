"""A checkpoint goes on with its own codes and tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.reference.training.made_up import make_work

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import load_model
from flowvox.reference.training.bpe import SPECIALS
from flowvox.reference.training.codec import new_codec
from flowvox.reference.training.corpus import text_encoder
from flowvox.reference.training.language_model import LanguageModel
from flowvox.reference.training.lm import GOING_ON, seed_of
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.unpack import unpack
from flowvox.tokenizer import Tokenizer

TINY = Path(__file__).parents[3] / "models" / "tiny"


def test_the_codec_that_training_begins_with_is_the_checkpoints(tmp_path: Path) -> None:
    unpack(TINY, tmp_path)
    checkpoint = Checkpoint.open(TINY)
    own, config = load_model(checkpoint).codec, checkpoint.config
    vectors = Semantics.load(tmp_path / "export" / "semantics.npz").vectors
    fresh = new_codec(config, vectors)
    fresh.load_state_dict(torch.load(tmp_path / "export" / "codec.pt", weights_only=True))
    samples = torch.randn(1, 4 * config.codec.frame_samples) / 10
    with torch.no_grad():
        torch.testing.assert_close(fresh.encode(samples), own.encode(samples))


def test_labels_have_codes_that_mean_them(tmp_path: Path) -> None:
    """Steady sounds have codes of their own."""
    unpack(TINY, tmp_path)
    semantics = Semantics.load(tmp_path / "export" / "semantics.npz")
    frequent = np.array([43, 44, 46, 51, 54, 56, 61, 62])  # vowels and consonants of the alphabet
    codes = semantics.of(np.repeat(frequent[:, None], 4, axis=1)).codes
    assert len(set(codes.tolist())) == len(frequent)


def test_the_language_model_goes_on_with_the_checkpoints_weights(tmp_path: Path) -> None:
    """All but the probes, which no checkpoint has."""
    unpack(TINY, tmp_path)
    model = LanguageModel(Checkpoint.open(TINY).config, GOING_ON)
    state = torch.load(tmp_path / "export" / "language.pt", weights_only=True)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert {name.partition(".")[0] for name in missing} == {"phoneme_probe", "expectation"}


def test_every_checkpoint_is_shown_other_batches(tmp_path: Path) -> None:
    """One that goes on twice would see again what it has just been taught."""
    language = tmp_path / "language.pt"
    assert seed_of(language) == 0  # a first training
    seeds = set()
    for weights in (torch.ones(4), torch.ones(4), torch.full((4,), 1.01)):
        torch.save({"backbone.norm.weight": weights}, language)
        seeds.add(seed_of(language))
    assert len(seeds) == 2


def test_text_has_the_checkpoints_tokens(tmp_path: Path) -> None:
    unpack(TINY, tmp_path)
    vocabulary = json.loads((tmp_path / "vocabulary.json").read_text("utf-8"))
    encoder = text_encoder([bytes.fromhex(token) for token in vocabulary])
    text = "The albatross, at last!"
    assert [r + SPECIALS for r in encoder.encode_ordinary(text)] == Tokenizer.load(
        TINY / "tekken.json"
    ).encode(text)


def test_a_corpus_of_other_tokens_is_refused(tmp_path: Path) -> None:
    make_work(tmp_path)
    with pytest.raises(FileExistsError, match="unpack before the stage corpus"):
        unpack(TINY, tmp_path)
    assert not (tmp_path / "export").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    unpack(TINY, tmp_path)
    with pytest.raises(FileExistsError, match="another folder"):
        unpack(TINY, tmp_path)
