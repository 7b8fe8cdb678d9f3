"""What a GGUF file holds, as gguf-py reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from tests.conftest import published_params
from tests.exporters.gguf.conftest import Convert

from flowvox.config import ModelConfig
from flowvox.errors import CheckpointError, FlowvoxError, OutputError, RecipeError
from flowvox.exporters.gguf import writer
from flowvox.exporters.gguf.names import LONGEST_NAME, entries
from flowvox.exporters.gguf.plan import plan
from flowvox.exporters.gguf.writer import export_gguf
from flowvox.recipe import Recipe, load_recipe
from flowvox.reference.checkpoint import Checkpoint
from flowvox.tensors import fold_weight_norm
from flowvox.voices import write_voice_pt

PUBLISHED = ModelConfig.from_dict(published_params())


def contents(path: Path) -> dict[str, np.ndarray]:
    """Name -> float32 values in numpy's axis order."""
    return {
        tensor.name: dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        for tensor in GGUFReader(path).tensors
    }


def test_names_of_the_published_model() -> None:
    """386 tensors, less five folded gains and the usage counts."""
    found = {entry.tensor: entry for entry in entries(PUBLISHED, encoder=False)}
    assert len(found) == len({entry.name for entry in found.values()}) == 380
    codec = "audio_tokenizer.decoder_blocks."
    for tensor, name in {
        "mm_audio_embeddings.tok_embeddings.weight": "token_embd.weight",
        "layers.25.attention.wo.weight": "blk.25.attn_output.weight",
        "layers.3.feed_forward.w1.weight": "blk.3.ffn_gate.weight",
        "layers.3.feed_forward.w2.weight": "blk.3.ffn_down.weight",
        "layers.3.ffn_norm.weight": "blk.3.ffn_norm.weight",
        "acoustic_transformer.layers.2.attention.wq.weight": "fm.blk.2.attn_q.weight",
        "acoustic_transformer.semantic_codebook_output.weight": "fm.semantic_output.weight",
        f"{codec}0.conv.parametrizations.weight.original1": "codec.dec.conv.0.weight",
        f"{codec}6.conv.parametrizations.weight.original1": "codec.dec.conv.3.weight",
        f"{codec}7.layers.1.attention.wo.weight": "codec.dec.tfm.3.blk.1.attn_o.weight",
        f"{codec}7.layers.1.attention_norm.weight": "codec.dec.tfm.3.blk.1.attn_norm.weight",
        f"{codec}1.layers.0.attention_scale": "codec.dec.tfm.0.blk.0.attn_scale",
        "audio_tokenizer.quantizer.semantic_codebook.embedding_sum": "codec.semantic_cb.weight",
    }.items():
        assert found[tensor].name == name
    names = [entry.name for entry in entries(PUBLISHED, encoder=True)]
    assert "codec.enc.tfm.0.blk.1.ffn_up.weight" in names
    assert max(len(name) for name in names) <= LONGEST_NAME


def test_sizes_of_the_published_model() -> None:
    """Gigabytes, tables and codec included."""
    sizes = {
        name: sum(tensor.size for tensor in plan(PUBLISHED, load_recipe(name), encoder=False)) / 1e9
        for name in ("fp16", "q8_0", "q6_k", "q5_k", "q4_k")
    }
    assert sizes == pytest.approx(
        {"fp16": 8.01, "q8_0": 4.47, "q6_k": 3.65, "q5_k": 3.20, "q4_k": 2.78}, abs=0.01
    )


def test_gguf_py_finds_the_checkpoint_in_it(random_micro: Path, convert: Convert) -> None:
    source = Checkpoint.open(random_micro)
    found = contents(convert(random_micro, "fp32"))
    for entry in entries(source.config, encoder=True):
        values = source.read(entry.tensor)
        if entry.is_convolution:
            values = fold_weight_norm(source.read(entry.beside), values)
        elif entry.beside:
            values = values / np.maximum(source.read(entry.beside), 1e-5)[:, None]
        np.testing.assert_array_equal(found.pop(entry.name), values)
    for voice in ("first", "second"):
        np.testing.assert_array_equal(found.pop(f"voice.{voice}"), source.voice(voice))
    assert set(found) == {"tokenizer.tekken.vocab_tensor"}


def test_metadata(random_micro: Path, convert: Convert) -> None:
    source = Checkpoint.open(random_micro)
    fields = GGUFReader(convert(random_micro, "q8_0")).fields
    expected = {
        "general.architecture": "voxtral_tts",
        "general.name": "micro",
        "general.license": "cc0-1.0",
        "general.quantization_version": 2,
        "general.file_type": 1,  # rows of 40 have no blocks
        "flowvox.recipe": "q8_0",
        "flowvox.source_sha256": source.source_hash(),
        "voxtral_tts.llm.dim": 40,
        "voxtral_tts.llm.norm_eps": pytest.approx(1e-5),
        "voxtral_tts.fm.hidden_dim": 56,
        "voxtral_tts.n_codebooks": 6,
        "voxtral_tts.frame_rate": 12.5,
        "voxtral_tts.codec.conv_strides": "1,2,2,2",
        "voxtral_tts.codec.layer_scale": True,
        "voxtral_tts.voice_names": ["first", "second"],
        "tokenizer.tekken.n_vocab": 400,
    }
    assert {key: fields[key].contents() for key in expected} == expected
    assert fields["tokenizer.tekken.specials"].contents()[24] == "[AUDIO]"


def test_rows_that_no_block_divides_fall_back(wide_micro: Path, convert: Convert) -> None:
    """256 wide: as asked. 64 and 32 wide: the next format of 32-wide blocks. 5 and 3: float16."""
    everything = {"component": "*", "format": "q5_k"}
    rules = {"version": 1, "name": "all", "rules": [everything]}
    config = Checkpoint.open(wide_micro).config
    planned = plan(config, Recipe.from_dict(rules, "here"), encoder=True)
    formats = {tensor.entry.name: tensor.form for tensor in planned}
    assert formats["token_embd.weight"] == "q5_k"
    assert formats["blk.0.attn_q.weight"] == "q5_k"
    assert formats["fm.blk.0.ffn_down.weight"] == "q5_1"
    assert formats["codec.enc.tfm.0.blk.0.attn_q.weight"] == "q5_1"
    assert formats["fm.input_proj.weight"] == "float16"
    assert formats["codec.dec.conv.0.weight"] == "float16"
    for vector in (
        "output_norm.weight",
        "codec.dec.tfm.0.blk.0.ffn_scale",
        "codec.semantic_cb.weight",
    ):
        assert formats[vector] == "float32"


def test_the_same_input_gives_the_same_bytes(
    wide_micro: Path, convert: Convert, tmp_path: Path
) -> None:
    export_gguf(Checkpoint.open(wide_micro), load_recipe("q4_k"), tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == convert(wide_micro, "q4_k").read_bytes()


def test_the_encoder_can_be_left_out(random_micro: Path, tmp_path: Path) -> None:
    rules = [
        {"component": "codec_encoder", "format": "omit"},
        {"component": "*", "format": "float16"},
    ]
    recipe = Recipe.from_dict({"version": 1, "name": "mute", "rules": rules}, "here")
    export_gguf(Checkpoint.open(random_micro), recipe, tmp_path / "mute.gguf")
    assert not any(name.startswith("codec.enc") for name in contents(tmp_path / "mute.gguf"))


def test_what_only_bundles_hold_is_refused(random_micro: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"int4.* a GGUF file cannot hold"):
        export_gguf(Checkpoint.open(random_micro), load_recipe("int4"), tmp_path / "x.gguf")
    assert list(tmp_path.iterdir()) == []


def test_only_gguf_files_are_overwritten(random_micro: Path, tmp_path: Path) -> None:
    source, recipe, out = Checkpoint.open(random_micro), load_recipe("fp16"), tmp_path / "x.gguf"
    out.write_text("my thesis")
    with pytest.raises(OutputError, match="exists already"):
        export_gguf(source, recipe, out)
    with pytest.raises(OutputError, match="not a GGUF file"):
        export_gguf(source, recipe, out, overwrite=True)
    out.unlink()
    export_gguf(source, recipe, out)
    export_gguf(source, load_recipe("q8_0"), out, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["x.gguf"]


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
def test_nothing_is_left_behind(
    random_micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(writer, "encoded", fail)
    with pytest.raises((FlowvoxError, KeyboardInterrupt)):
        export_gguf(Checkpoint.open(random_micro), load_recipe("fp16"), tmp_path / "x.gguf")
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_any_work(
    random_micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(OutputError, match="GB"):
        export_gguf(Checkpoint.open(random_micro), load_recipe("fp16"), tmp_path / "x.gguf")


def test_a_voice_name_that_ggml_would_cut_is_refused(random_micro: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(random_micro, tmp_path / "copy"))
    source = Checkpoint.open(copy)
    write_voice_pt(copy / "voice_embedding" / f"{'v' * 60}.pt", source.voice("first"))
    with pytest.raises(CheckpointError, match="too long"):
        export_gguf(source, load_recipe("fp16"), tmp_path / "x.gguf")
