"""The adversarial stage: the decoder goes on from the committed one, the codes stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.reference.training.shards import TINY, write_shard

from flowvox.errors import FlowvoxError
from flowvox.reference.training import codec
from flowvox.reference.training.dataset import build
from flowvox.reference.training.pack import codec_tensors
from flowvox.tensors import CODEC


def test_a_step_changes_the_decoder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "ALONE", 0)
    monkeypatch.setattr(codec, "BATCH", 2)
    (tmp_path / "corpus").mkdir()
    write_shard(tmp_path / "corpus" / "0000.npz", ["The old man went home."] * 2, codec.CROP + 4)
    build(tmp_path, TINY)
    before = codec_tensors(tmp_path, TINY)
    codec.refine_decoder(tmp_path, minutes=1e-6, lr=1e-3, start=TINY)  # one step
    after = codec_tensors(tmp_path, TINY)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert set(after) == set(before)
    assert len(changed) > 40
    assert all(
        name.startswith((f"{CODEC}decoder_blocks.", f"{CODEC}output_proj.")) for name in changed
    )


def test_there_must_be_a_decoder_to_refine(tmp_path: Path) -> None:
    with pytest.raises(FlowvoxError, match="run stage decoder or give --start"):
        codec.trained_decoder(tmp_path, None)
