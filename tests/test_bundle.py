"""Bundles: verified when opened, never followed out of their folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flowvox.bundle import Bundle
from flowvox.errors import BundleError, FlowvoxError, VoiceError
from flowvox.manifest import MANIFEST


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

    from flowvox.bundle import file_hash
    from flowvox.runtime.tts import TTS

    shutil.copyfile(copy / "flow.onnx.data", copy.parent / "stolen.data")
    model = onnx.load(copy / "flow.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../stolen.data"
    (copy / "flow.onnx").write_bytes(model.SerializeToString())
    entry = {"bytes": (copy / "flow.onnx").stat().st_size, "sha256": file_hash(copy / "flow.onnx")}
    edit(copy, lambda m: m["files"].update({"flow.onnx": entry}))
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


def test_not_a_bundle(tmp_path: Path) -> None:
    refused(tmp_path, "not a bundle")
    (tmp_path / MANIFEST).write_text("[")
    refused(tmp_path, "not readable")
