"""The layouts that a checkpoint may have all make the same bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import export, micro_params

from flowvox.bundle import Bundle
from flowvox.graphs import CODEC_ENCODER
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.random_checkpoint import write_random_checkpoint
from flowvox.tensors import TOKEN_EMBEDDINGS

WEIGHTS = "consolidated.safetensors"


def rewritten(source: Path, out: Path, shards: dict[str, dict[str, torch.Tensor]]) -> Path:
    """A copy of the checkpoint with its weights in these files and an index."""
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(WEIGHTS))
    for file, tensors in shards.items():
        save_file(tensors, out / file)
    weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    (out / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return out


def test_shards_and_an_output_head(
    random_micro: Path, micro_bundles: dict[str, Path], tmp_path: Path
) -> None:
    tensors = load_file(random_micro / WEIGHTS)
    tensors["output.weight"] = torch.ones_like(tensors[TOKEN_EMBEDDINGS])
    names = sorted(tensors)
    shards = {
        f"model-0000{i + 1}-of-00003.safetensors": {name: tensors[name] for name in names[i::3]}
        for i in range(3)
    }
    bundle = Bundle.open(
        export(rewritten(random_micro, tmp_path / "c", shards), "int4", tmp_path / "b")
    )
    expected = Bundle.open(micro_bundles["int4"])
    assert bundle.manifest["files"] == expected.manifest["files"]
    assert bundle.manifest["components"] == expected.manifest["components"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_another_type(
    random_micro: Path, micro_bundles: dict[str, Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    tensors = {name: t.to(dtype) for name, t in load_file(random_micro / WEIGHTS).items()}
    checkpoint = rewritten(random_micro, tmp_path / "c", {"model.safetensors": tensors})
    bundle = Bundle.open(export(checkpoint, "int8", tmp_path / "b"))
    assert bundle.manifest["files"] == Bundle.open(micro_bundles["int8"]).manifest["files"]


def test_without_an_encoder(tmp_path: Path) -> None:
    params = micro_params()
    del params["multimodal"]["audio_tokenizer_args"]["encoder_transformer_lengths_str"]
    write_random_checkpoint(params, tmp_path / "c", seed=3)
    assert not Checkpoint.open(tmp_path / "c").has_encoder
    bundle = Bundle.open(export(tmp_path / "c", "int4", tmp_path / "b"))
    assert CODEC_ENCODER not in bundle.manifest["graphs"]
    assert CODEC_ENCODER not in bundle.manifest["components"]


def test_the_token_table_is_read_in_pieces(
    random_micro: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    micro_bundles: dict[str, Path],
) -> None:
    """At 4B it is 1.6 GB in float32: the largest tensor by far."""
    read = Checkpoint.read

    def careful(self: Checkpoint, name: str) -> object:
        assert name != TOKEN_EMBEDDINGS
        return read(self, name)

    monkeypatch.setattr(Checkpoint, "read", careful)
    monkeypatch.setattr("flowvox.exporters.onnx.tables.VALUES_AT_ONCE", 1000)
    for recipe in ("int4", "fp16"):
        made = Bundle.open(export(random_micro, recipe, tmp_path / recipe)).manifest
        assert made["files"] == Bundle.open(micro_bundles[recipe]).manifest["files"]
