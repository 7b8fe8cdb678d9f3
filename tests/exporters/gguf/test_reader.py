"""A GGUF file is a checkpoint: ours to the last bit that was stored, other tools' as far as they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from tests.exporters.gguf.conftest import Convert

from flowvox.errors import CheckpointError, FlowvoxError, VoiceError
from flowvox.exporters.gguf.reader import GgufCheckpoint
from flowvox.exporters.gguf.writer import export_gguf
from flowvox.quantizers.ggml.rows import dequantize_rows, quantize_rows
from flowvox.recipe import load_recipe
from flowvox.reference.checkpoint import Checkpoint
from flowvox.tensors import CODEC, TOKEN_EMBEDDINGS, fold_weight_norm
from flowvox.tokenizer import Tokenizer

GAIN = f"{CODEC}output_proj.conv.parametrizations.weight.original0"
DIRECTION = f"{CODEC}output_proj.conv.parametrizations.weight.original1"
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def rewrite(path: Path, out: Path, change: Change) -> Path:
    """Write `path` again with gguf-py after `change(metadata, tensors)`."""
    reader, writer = GGUFReader(path), GGUFWriter(out, "voxtral_tts")
    metadata = {key: field.contents() for key, field in reader.fields.items() if "GGUF." not in key}
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    types = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    change(metadata, tensors)
    for key, value in metadata.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.kv_data[0].pop(key, None)
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, data in tensors.items():
        kind = types.get(name, GGMLQuantizationType.F32)
        writer.add_tensor(name, data, raw_dtype=kind if data.dtype == np.uint8 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def refused(path: Path, says: str, kind: type[FlowvoxError] = CheckpointError) -> None:
    with pytest.raises(kind, match=says) as caught:
        GgufCheckpoint(path).tokenizer()
    assert "\n" not in str(caught.value)


def test_float32_gives_the_checkpoint_back(random_micro: Path, convert: Convert) -> None:
    """Folded tensors fold to the same values again."""
    source, read = Checkpoint.open(random_micro), GgufCheckpoint(convert(random_micro, "fp32"))
    assert read.config == source.config
    assert read.shapes == source.shapes
    assert read.has_encoder
    assert read.licence == source.licence
    assert list(read.voices()) == list(source.voices())
    for voice in source.voices():
        np.testing.assert_array_equal(read.voice(voice), source.voice(voice))
    for name in source.shapes:
        if "parametrizations" not in name and "quantizer" not in name:
            np.testing.assert_array_equal(read.read(name), source.read(name))
    ours = fold_weight_norm(read.read(GAIN), read.read(DIRECTION))
    theirs = fold_weight_norm(source.read(GAIN), source.read(DIRECTION))
    np.testing.assert_allclose(ours, theirs, rtol=2e-7)
    codebook = f"{CODEC}quantizer.semantic_codebook."
    usage = np.maximum(source.read(f"{codebook}cluster_usage"), np.float32(1e-5))
    centroids = source.read(f"{codebook}embedding_sum") / usage[:, None]
    np.testing.assert_array_equal(read.read(f"{codebook}embedding_sum"), centroids)
    np.testing.assert_array_equal(read.read(f"{codebook}cluster_usage"), np.ones(20))


def test_the_tokenizer_comes_back(tiny: Path, convert: Convert, tmp_path: Path) -> None:
    read = GgufCheckpoint(convert(tiny, "q8_0"))
    original = Tokenizer.load(tiny / "tekken.json")
    for text in ("We cannot put off living.", "naïve — 20 €", "\U0001f600 \n\n  end"):
        assert read.tokenizer().encode(text) == original.encode(text)
    assert read.tokenizer().special_id("[AUDIO]") == 24
    (tmp_path / "tekken.json").write_bytes(read.tokenizer_json())
    again = Tokenizer.load(tmp_path / "tekken.json")
    assert again.vocab_size == original.vocab_size


@pytest.mark.parametrize("recipe", ["q4_k", "q6_k", "q8_0"])
def test_blocks_are_read_as_they_were_meant(
    wide_micro: Path, convert: Convert, recipe: str
) -> None:
    source, read = Checkpoint.open(wide_micro), GgufCheckpoint(convert(wide_micro, recipe))
    name = "layers.1.feed_forward.w2.weight"
    meant = dequantize_rows(recipe, quantize_rows(recipe, source.read(name)))
    np.testing.assert_array_equal(read.read(name), meant)
    np.testing.assert_array_equal(read.read_rows(name, 3, 100), meant[3:100])
    np.testing.assert_array_equal(read.read_rows(DIRECTION, 3, 9), read.read(DIRECTION)[3:9])
    np.testing.assert_array_equal(
        read.read_rows("norm.weight", 3, 9), read.read("norm.weight")[3:9]
    )
    assert read.stored_format(name) == recipe
    assert read.stored_bytes(GAIN) == 0
    assert read.block_format(name) == recipe
    np.testing.assert_array_equal(dequantize_rows(recipe, read.packed(name)), meant)
    assert read.block_format("norm.weight") is read.block_format(DIRECTION) is None


def test_blocks_pass_from_file_to_file_as_they_are(
    wide_micro: Path, convert: Convert, tmp_path: Path
) -> None:
    first = GgufCheckpoint(convert(wide_micro, "q5_k"))
    export_gguf(first, load_recipe("q5_k"), tmp_path / "again.gguf")
    second = GgufCheckpoint(tmp_path / "again.gguf")
    for name in first.shapes:
        if name != GAIN:
            np.testing.assert_array_equal(second.read(name), first.read(name))


def test_files_of_other_tools(random_micro: Path, convert: Convert, tmp_path: Path) -> None:
    """No key of ours, no encoder, more tokens than have an id, tensors in another order."""

    def change(metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        for key in [key for key in metadata if key.startswith(("flowvox.", "general."))]:
            del metadata[key]
        metadata["voxtral_tts.numbers"] = "words"
        for name in [name for name in tensors if name.startswith("codec.enc")]:
            del tensors[name]
        extra = np.frombuffer(b"\x03\x00abc" * 9, np.uint8).astype(np.float32)
        vocabulary = tensors.pop("tokenizer.tekken.vocab_tensor")
        tensors |= dict(reversed(list(tensors.items())))
        tensors["tokenizer.tekken.vocab_tensor"] = np.concatenate([vocabulary, extra])

    ours = GgufCheckpoint(convert(random_micro, "q8_0"))
    theirs = GgufCheckpoint(rewrite(ours.path, tmp_path / "x.gguf", change))
    for part in ("backbone", "flow"):
        expected = getattr(ours.config, part)
        found = getattr(theirs.config, part)
        assert {k: v for k, v in vars(found).items() if k != "max_positions"} == {
            k: v for k, v in vars(expected).items() if k != "max_positions"
        }
    for key in ("window", "norm_eps", "qk_norm_eps", "decoder_strides", "decoder_lengths"):
        assert getattr(theirs.config.codec, key) == getattr(ours.config.codec, key)
    assert theirs.config.voices == ours.config.voices
    assert (ours.config.numbers, theirs.config.numbers) == (None, "words")
    assert theirs.licence == "unknown"
    assert not theirs.has_encoder
    assert theirs.tokenizer().encode("tea time") == ours.tokenizer().encode("tea time")
    np.testing.assert_array_equal(theirs.read(TOKEN_EMBEDDINGS), ours.read(TOKEN_EMBEDDINGS))


@pytest.mark.parametrize(
    ("metadata", "says"),
    [({"general.architecture": "llama"}, "architecture is 'llama'"),
     ({"general.alignment": 24}, "alignment is 24"),
     ({"voxtral_tts.llm.dim": 41}, "llm.dim is 41, but flowvox.params says 40"),
     ({"voxtral_tts.llm.dim": "wide"}, "llm.dim is 'wide'"),
     ({"voxtral_tts.numbers": "words"}, "numbers is 'words', but flowvox.params says None"),
     ({"voxtral_tts.numbers": "some", "flowvox.params": None}, "'numbers' is 'some'"),
     ({"flowvox.params": "{"}, "not JSON"),
     ({"flowvox.params": "[]"}, "JSON object"),
     ({"flowvox.tekken": "[]"}, "flowvox.tekken"),
     ({"flowvox.params": None, "voxtral_tts.codec.dim": None}, "codec.dim is missing"),
     ({"flowvox.params": None, "voxtral_tts.llm.n_layers": 1 << 23}, "promises .* layers"),
     ({"flowvox.params": None, "voxtral_tts.codec.tfm_lengths": "1,x"}, "should look like"),
     ({"tokenizer.tekken.pattern": "(("}, "pattern does not work"),
     ({"tokenizer.tekken.specials": ["a"]}, "cut short"),
     ({"tokenizer.tekken.specials": None}, "tekken.specials")],
)  # fmt: skip
def test_metadata_that_makes_no_sense(
    random_micro: Path, convert: Convert, tmp_path: Path, metadata: Mapping[str, Any], says: str
) -> None:
    def change(keys: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        for key, value in metadata.items():
            keys.pop(key, None)
            if value is not None:
                keys[key] = value

    refused(rewrite(convert(random_micro, "fp16"), tmp_path / "x.gguf", change), says, FlowvoxError)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [("blk.1.attn_q.weight", None, "blk.1.attn_q.weight is missing"),
     ("output_norm.weight", np.zeros(41), r"has shape \[41\], but its metadata says \[40\]"),
     ("output_norm.weight", np.zeros((1, 40)), r"has shape \[1, 40\]"),
     ("fm.semantic_output.bias", np.zeros(3), "without biases"),
     ("tokenizer.tekken.vocab_tensor", None, "no vocabulary"),
     ("tokenizer.tekken.vocab_tensor", np.full(9, 0.5), "not made of bytes"),
     ("tokenizer.tekken.vocab_tensor", np.full(9, np.nan), "not made of bytes"),
     ("tokenizer.tekken.vocab_tensor", np.full(9, 255), "cut short")],
)  # fmt: skip
def test_tensors_that_make_no_sense(
    random_micro: Path, convert: Convert, tmp_path: Path,
    name: str, data: np.ndarray | None, says: str,
) -> None:  # fmt: skip
    def change(keys: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        tensors.pop(name, None)
        if data is not None:
            tensors[name] = data.astype(np.float32)

    refused(rewrite(convert(random_micro, "fp16"), tmp_path / "x.gguf", change), says)


def test_values_that_are_not_finite(wide_micro: Path, convert: Convert, tmp_path: Path) -> None:
    def change(keys: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        tensors["blk.0.attn_q.weight"] = np.full_like(tensors["blk.0.attn_q.weight"], 0x7C)
        tensors["voice.first"] = np.full_like(tensors["voice.first"], np.inf)

    read = GgufCheckpoint(rewrite(convert(wide_micro, "q4_k"), tmp_path / "x.gguf", change))
    with pytest.raises(CheckpointError, match="not finite"):
        read.read("layers.0.attention.wq.weight")
    with pytest.raises(CheckpointError, match="not finite"):
        read.voice("first")


def test_voices_that_are_none(random_micro: Path, convert: Convert, tmp_path: Path) -> None:
    def change(keys: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        tensors["voice.first"] = np.zeros((2, 41), dtype=np.float32)
        tensors["voice.flat"] = np.zeros(40, dtype=np.float32)

    read = GgufCheckpoint(rewrite(convert(random_micro, "fp16"), tmp_path / "x.gguf", change))
    for voice, says in (("first", "shape"), ("flat", "shape"), ("third", "there is no voice")):
        with pytest.raises(VoiceError, match=says):
            read.voice(voice)

    def escape(keys: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        tensors["voice.../up"] = np.zeros((2, 40), dtype=np.float32)

    read = GgufCheckpoint(rewrite(convert(random_micro, "fp16"), tmp_path / "y.gguf", escape))
    with pytest.raises(VoiceError, match="not a voice name"):
        read.voices()


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").write_bytes(b"")
    for path in (tmp_path, tmp_path / "none", tmp_path / "empty.gguf"):
        with pytest.raises(CheckpointError):
            GgufCheckpoint(path)
