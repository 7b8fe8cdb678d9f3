"""Reading checkpoints: what is wrong is said in one line, and nothing else happens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import micro_params

from flowvox.errors import CheckpointError, ConfigError, FlowvoxError, VoiceError
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.random_checkpoint import write_random_checkpoint
from flowvox.reference.safetensors_file import SafetensorsFile, header_bytes
from flowvox.tensors import encoder_tensors
from flowvox.voices import to_bfloat16

WEIGHTS = "consolidated.safetensors"


@pytest.fixture
def copy(random_micro: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_micro, tmp_path / "copy"))


def load(path: Path) -> dict[str, np.ndarray]:
    file = SafetensorsFile(path / WEIGHTS)
    return {name: file.read(name) for name in file.tensors}


def save(file: Path, tensors: dict[str, np.ndarray]) -> None:
    data = b"".join(
        to_bfloat16(np.ascontiguousarray(t, dtype=np.float32)).tobytes() for t in tensors.values()
    )
    file.write_bytes(header_bytes({name: t.shape for name, t in tensors.items()}) + data)


def refused(path: Path, says: str, kind: type[FlowvoxError] = CheckpointError) -> None:
    with pytest.raises(kind, match=says) as caught:
        checkpoint = Checkpoint.open(path)
        for name in checkpoint.shapes:
            checkpoint.read(name)
    assert "\n" not in str(caught.value)


def test_torch_and_we_read_the_same(random_micro: Path) -> None:
    from safetensors.torch import load_file

    theirs = load_file(random_micro / WEIGHTS)
    ours = load(random_micro)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor.float().numpy())


def test_a_file_cut_anywhere_is_refused(copy: Path) -> None:
    whole = (copy / WEIGHTS).read_bytes()
    for length in (0, 5, 8, 100, len(whole) // 2, len(whole) - 1):
        (copy / WEIGHTS).write_bytes(whole[:length])
        refused(copy, "damaged")


def test_missing_extra_and_misshapen_tensors(copy: Path) -> None:
    tensors = load(copy)
    save(copy / WEIGHTS, {k: v for k, v in tensors.items() if k != "norm.weight"})
    refused(copy, r"1 tensors are missing, norm\.weight")
    save(copy / WEIGHTS, {**tensors, "stranger": np.zeros(3)})
    refused(copy, "do not belong to this model, stranger")
    save(copy / WEIGHTS, {**tensors, "norm.weight": np.zeros(41)})
    refused(copy, r"norm\.weight has shape \[41\]")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(copy: Path, value: float) -> None:
    tensors = load(copy)
    file = SafetensorsFile(copy / WEIGHTS)
    stored = file.tensors["norm.weight"]
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[stored.start : stored.start + 2] = (
        (np.float32(value).view(np.uint32) >> 16).astype("<u2").tobytes()
    )
    (copy / WEIGHTS).write_bytes(data)
    assert tensors["norm.weight"].size
    refused(copy, r"norm\.weight holds values that are not finite")


def test_other_models_and_other_files(copy: Path, tmp_path: Path) -> None:
    params = json.loads((copy / "params.json").read_text())
    (copy / "params.json").write_text(json.dumps({**params, "model_type": "voxtral"}))
    refused(copy, "model_type", ConfigError)
    refused(tmp_path / "nowhere", "no such", ConfigError)
    (copy / "params.json").write_text(json.dumps(params))
    (copy / WEIGHTS).unlink()
    refused(copy, "no consolidated")


def test_shards_and_an_output_head(copy: Path) -> None:
    tensors = load(copy)
    names = list(tensors)
    (copy / WEIGHTS).unlink()
    save(copy / "model-1.safetensors", {n: tensors[n] for n in names[:30]})
    save(
        copy / "model-2.safetensors",
        {n: tensors[n] for n in names[30:]} | {"output.weight": np.ones((2, 2))},
    )
    checkpoint = Checkpoint.open(copy)
    np.testing.assert_array_equal(checkpoint.read(names[-1]), tensors[names[-1]])
    save(copy / "model-3.safetensors", {names[0]: tensors[names[0]]})
    refused(copy, "in two shards")


def sharded(copy: Path) -> list[str]:
    """Split the weights of `copy` into three shards with an index; returns the shards' names."""
    tensors = load(copy)
    names = list(tensors)
    (copy / WEIGHTS).unlink()
    weight_map = {}
    for i, part in enumerate((names[:20], names[20:50], names[50:]), start=1):
        shard = f"model-0000{i}-of-00003.safetensors"
        save(copy / shard, {name: tensors[name] for name in part})
        weight_map |= dict.fromkeys(part, shard)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    return sorted(set(weight_map.values()))


def test_an_index_says_which_shards_belong_together(random_micro: Path, copy: Path) -> None:
    whole = Checkpoint.open(random_micro)
    first, *_, last = sharded(copy)
    save(
        copy / "model-00001-of-00002.safetensors", {"norm.weight": np.zeros(40)}
    )  # an old download
    checkpoint = Checkpoint.open(copy)
    assert set(checkpoint.shapes) == set(whole.shapes)
    for name in whole.shapes:
        np.testing.assert_array_equal(checkpoint.read(name), whole.read(name))
    (copy / last).unlink()
    refused(copy, f"1 of 3 shards are missing, {last}")
    (copy / first).unlink()
    refused(copy, f"2 of 3 shards are missing, {first}")


@pytest.mark.parametrize(
    "index", ["[", "{}", "[]", '{"weight_map": {}}', '{"weight_map": {"a": 3}}',
              '{"weight_map": {"a": "../../etc/x.safetensors"}}', '{"weight_map": {"a": ["b"]}}'],
)  # fmt: skip
def test_an_index_that_is_none(copy: Path, index: str) -> None:
    (copy / WEIGHTS).unlink()
    (copy / "model.safetensors.index.json").write_text(index)
    refused(copy, "not an index of shards")


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@given(st.data())
@settings(max_examples=20, deadline=None)
def test_rows_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, data: st.DataObject
) -> None:
    from safetensors.torch import save_file

    kinds = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    tensor = torch.randn(7, 3, 2).to(kinds[dtype])
    path = tmp_path_factory.mktemp("rows") / WEIGHTS
    save_file({"before": torch.ones(5, dtype=kinds[dtype]), "x": tensor}, path)
    start = data.draw(st.integers(0, 7))
    stop = data.draw(st.integers(start, 7))
    rows = SafetensorsFile(path).read_rows("x", start, stop)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, tensor[start:stop].float().numpy())


def test_a_file_cut_after_it_was_opened(copy: Path) -> None:
    file = SafetensorsFile(copy / WEIGHTS)
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        file.read(list(file.tensors)[-1])


def test_rows_of_zeros_are_counted_in_pieces(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowvox.reference.checkpoint.VALUES_AT_ONCE", 100)
    tensors = load(copy)
    tensors["layers.0.attention.wq.weight"][[0, 1, 50, 95]] = 0
    save(copy / WEIGHTS, tensors)
    checkpoint = Checkpoint.open(copy)
    assert checkpoint.zero_rows("layers.0.attention.wq.weight") == 4
    assert checkpoint.zero_rows("layers.1.attention.wq.weight") == 0
    assert checkpoint.zero_rows("norm.weight") == 0


def test_a_checkpoint_without_encoder(tmp_path: Path) -> None:
    params = micro_params()
    arguments = params["multimodal"]["audio_tokenizer_args"]
    del arguments["encoder_transformer_lengths_str"]
    config = write_random_checkpoint(params, tmp_path / "a", seed=0)
    checkpoint = Checkpoint.open(tmp_path / "a")
    assert not checkpoint.has_encoder
    assert not set(encoder_tensors(config)) & set(checkpoint.shapes)


def test_unknown_voices_are_told_the_known_ones(random_micro: Path) -> None:
    with pytest.raises(VoiceError, match="first, second"):
        Checkpoint.open(random_micro).voice("third")


def test_the_licence_comes_from_the_card(copy: Path) -> None:
    assert Checkpoint.open(copy).licence == "cc0-1.0"
    (copy / "README.md").write_text("no front matter, license: mit\n")
    assert Checkpoint.open(copy).licence == "unknown"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_mutated_headers_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = tmp_path_factory.mktemp("header") / WEIGHTS
    save(file, {"a": np.ones((2, 3)), "b": np.ones(4)})
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 21))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        opened = SafetensorsFile(file)
        for name in opened.tensors:
            opened.read(name)
    except FlowvoxError as error:
        assert "\n" not in str(error)
