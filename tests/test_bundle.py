"""Bundles: verified when opened, never followed out of their folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.bundle import Bundle, file_hash
from flowvox.errors import BundleError, FlowvoxError, VoiceError
from flowvox.manifest import MANIFEST
from tests.test_config import JSON


@pytest.fixture
def copy(micro_bundles: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(micro_bundles["int4"], tmp_path / "bundle"))


def edit(path: Path, change: Any) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    change(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


def read_all(path: Path) -> None:
    bundle = Bundle.open(path)
    bundle.table("token_embeddings")
    bundle.voice(bundle.default_voice)
    bundle.tokenizer()


def refused(path: Path, says: str, kind: type[FlowvoxError] = BundleError) -> None:
    with pytest.raises(kind, match=says) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


def test_a_whole_bundle_opens(copy: Path) -> None:
    bundle = Bundle.open(copy)
    assert bundle.voices == ["first", "second"]
    assert bundle.voice("first").shape[1] == bundle.config.backbone.dim
    assert (
        bundle.bytes
        == sum(f.stat().st_size for f in copy.rglob("*") if f.is_file())
        - (copy / MANIFEST).stat().st_size
    )
    with pytest.raises(VoiceError, match="first, second"):
        bundle.voice("third")


@pytest.mark.parametrize(
    "name", ["backbone.onnx.data", "flow.onnx", "tekken.json", "voices/first.npy"]
)
def test_one_flipped_byte_is_found(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    refused(copy, "changed after it was made")


def test_missing_cut_and_added_files(copy: Path) -> None:
    whole = (copy / "flow.onnx.data").read_bytes()
    (copy / "flow.onnx.data").write_bytes(whole[:-1])
    refused(copy, "another size")
    (copy / "flow.onnx.data").unlink()
    refused(copy, "is missing")
    (copy / "flow.onnx.data").write_bytes(whole)
    (copy / "extra.onnx").write_bytes(b"")
    refused(copy, "does not belong")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../outside", "..\\outside"])
def test_names_that_point_outside_are_refused(copy: Path, name: str) -> None:
    (copy.parent / "outside").write_text("secret")
    entry = {
        "bytes": 6,
        "sha256": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    }
    edit(copy, lambda m: m["files"].update({name: entry}))
    refused(copy, "points outside")


def test_a_link_out_of_the_bundle_is_refused(copy: Path) -> None:
    shutil.move(copy / "tekken.json", copy.parent / "tekken.json")
    (copy / "tekken.json").symlink_to(copy.parent / "tekken.json")
    refused(copy, "points outside")


def test_external_data_outside_the_bundle_is_refused(copy: Path) -> None:
    """A graph whose weights are said to lie elsewhere does not load, even if its hash is right."""
    import onnx

    from flowvox.runtime.tts import TTS

    shutil.copyfile(copy / "flow.onnx.data", copy.parent / "stolen.data")
    model = onnx.load(copy / "flow.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../stolen.data"
    (copy / "flow.onnx").write_bytes(model.SerializeToString())
    rehash(copy, "flow.onnx")
    with pytest.raises(BundleError, match=r"flow\.onnx"):
        TTS.load(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda m: m.update(schema=2), "schema"), (lambda m: m.pop("files"), "files"),
     (lambda m: m["graphs"].pop("flow"), "graphs"), (lambda m: m["model"].pop("params"), "params"),
     (lambda m: m["files"].update({"flow.onnx": 3}), "malformed"),
     (lambda m: m["tables"]["token_embeddings"].pop("file"), "file"),
     (lambda m: m["tables"]["token_embeddings"].update(file="code_embeddings.npy"), "shape"),
     (lambda m: m["voices"]["first"].update(file="../x"), "outside"),
     (lambda m: m["model"]["params"].update(n_layers=3), "graphs")],
)  # fmt: skip
def test_damaged_manifests(copy: Path, change: Any, says: str) -> None:
    edit(copy, change)
    refused(copy, says, FlowvoxError)


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda m: m.update(schema=True), "schema"), (lambda m: m.update(sampling={}), "sampling.steps"),
     (lambda m: m["sampling"].update(steps="7"), "sampling.steps"),
     (lambda m: m["sampling"].update(solver="heun"), "sampling.solver"),
     (lambda m: m.update(recipe={}), "recipe.name"), (lambda m: m.pop("components"), "components"),
     (lambda m: m["components"].update(flow=3), "components.flow"),
     (lambda m: m["files"]["flow.onnx"].update(bytes=-1), "files.flow.onnx.bytes"),
     (lambda m: m["files"]["flow.onnx"].update(sha256="0"), "files.flow.onnx.sha256"),
     (lambda m: m["voices"].update({"../x": m["voices"]["first"]}), "not a voice name"),
     (lambda m: m["voices"]["first"].update(file="flow.onnx"), "not a readable array"),
     (lambda m: m["voices"]["first"].update(rows=10**12), "shape"),
     (lambda m: m["tables"]["code_embeddings"].update(scales="tekken.json"), "not a readable array"),
     (lambda m: m["files"].pop("tekken.json"), "not in its list"),
     (lambda m: m["files"].update({"a\0b": m["files"]["flow.onnx"]}), "outside")],
)  # fmt: skip
def test_malformed_sections_are_named(copy: Path, change: Any, says: str) -> None:
    edit(copy, change)
    with pytest.raises(FlowvoxError, match=says) as caught:
        read_everything(copy)
    assert "\n" not in str(caught.value)


def read_everything(path: Path) -> None:
    bundle = Bundle.open(path, verify=False)
    for voice in bundle.voices:
        bundle.voice(voice)
    for table in bundle.manifest["tables"]:
        bundle.table(table)
    bundle.tokenizer()


def test_an_odd_key_does_not_break_the_line(copy: Path) -> None:
    """Found by the test of replaced values."""
    edit(copy, lambda m: m["checks"].update({"two\nlines": None}))
    with pytest.raises(BundleError, match="is malformed") as raised:
        Bundle.open(copy)
    assert "\n" not in str(raised.value)


@given(st.data())
@settings(max_examples=100)
def test_any_replaced_value_is_an_error_or_a_bundle(
    micro_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Wherever a manifest is wrong, the answer is a bundle or one line, never a traceback."""
    source = micro_bundles["int4"]
    manifest = json.loads((source / MANIFEST).read_text())
    target = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(target)))
        if not isinstance(target[key], dict) or not target[key] or data.draw(st.booleans()):
            break
        target = target[key]
    target[key] = data.draw(JSON)
    folder = tmp_path_factory.mktemp("fuzzed")
    shutil.copytree(source, folder, copy_function=os.link, dirs_exist_ok=True)
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    try:
        read_everything(folder)
    except FlowvoxError as error:
        assert "\n" not in str(error)
    finally:
        shutil.rmtree(folder)


def test_a_link_to_an_unlisted_folder_is_found(copy: Path) -> None:
    (copy / "more").symlink_to(copy.parent)
    refused(copy, "does not belong")


def test_a_tokenizer_of_another_model_is_refused(copy: Path) -> None:
    document = json.loads((copy / "tekken.json").read_text())
    document["config"]["default_vocab_size"] -= 1
    (copy / "tekken.json").write_text(json.dumps(document))
    rehash(copy, "tekken.json")
    refused(copy, "tokens")


def test_a_voice_that_is_not_finite_is_refused(copy: Path) -> None:
    rows = np.load(copy / "voices" / "first.npy")
    rows[0, 0] = np.nan
    np.save(copy / "voices" / "first.npy", rows)
    rehash(copy, "voices/first.npy")
    refused(copy, "not finite")


def test_the_default_voice_is_the_first_of_the_model(copy: Path) -> None:
    """The published model names an English voice first; by name it would be an Arabic one."""
    edit(copy, lambda m: m["model"]["params"]["multimodal"]["audio_tokenizer_args"].update(
        voice={"second": 0, "first": 1}
    ))  # fmt: skip
    assert Bundle.open(copy).default_voice == "second"


def rehash(path: Path, name: str) -> None:
    """Make the manifest agree with a file that was changed on purpose."""
    entry = {"bytes": (path / name).stat().st_size, "sha256": file_hash(path / name)}
    edit(path, lambda m: m["files"].update({name: entry}))


def test_not_a_bundle(tmp_path: Path) -> None:
    refused(tmp_path, "not a bundle")
    (tmp_path / MANIFEST).write_text("[")
    refused(tmp_path, "not readable")
