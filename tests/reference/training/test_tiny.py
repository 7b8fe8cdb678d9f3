"""models/tiny is complete, reads back, and tells the truth about what it was trained on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.training.text import HELD_OUT_SHARE
from flowvox.tokenizer import Tokenizer

TINY = Path(__file__).parents[3] / "models" / "tiny"
pytestmark = pytest.mark.skipif(not TINY.exists(), reason="models/tiny is not in this checkout")


def test_checkpoint_has_every_part() -> None:
    checkpoint = Checkpoint.open(TINY)
    assert checkpoint.has_encoder
    assert checkpoint.licence == "apache-2.0"
    slots = json.loads((TINY / "tekken.json").read_text())["audio"]["voice_num_audio_tokens"]
    assert {name: len(checkpoint.voice(name)) for name in checkpoint.voices()} == slots
    tokenizer = Tokenizer.load(checkpoint.tokenizer_path)
    assert tokenizer.vocab_size == checkpoint.config.backbone.vocab_size


def test_held_out_was_not_trained() -> None:
    """The split is a function of the hash alone, so the list itself proves it."""
    trained = (TINY / "training-text-hashes.txt").read_text().split()
    assert len(trained) > 10_000
    assert not any(int(digest, 16) / 16**16 < HELD_OUT_SHARE for digest in trained)


def test_scores_belong_to_these_weights() -> None:
    scores = json.loads((TINY / "scores.json").read_text())
    weights = (TINY / "consolidated.safetensors").read_bytes()
    assert scores["sha256"] == hashlib.sha256(weights).hexdigest()
