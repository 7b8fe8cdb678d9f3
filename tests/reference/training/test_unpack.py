"""A checkpoint's codec goes on with its own codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import load_model
from flowvox.reference.training.codec import new_codec
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.unpack import unpack

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


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    unpack(TINY, tmp_path)
    with pytest.raises(FileExistsError, match="another folder"):
        unpack(TINY, tmp_path)
