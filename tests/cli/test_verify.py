"""`flowvox verify`: 0 good, 1 damaged (everything listed), 2 not something to verify."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.cli.command import Command, edit_manifest, overwrite


def problems(run: Command, path: Path) -> list[str]:
    """Of a path that must be found damaged."""
    status, out, _ = run("verify", path, "--json")
    assert status == 1, out
    result = json.loads(out.splitlines()[-1])
    assert result["ok"] is False
    return list(result["problems"])


def test_what_is_whole_is_good(
    run: Command, micro_bundles: dict[str, Path], random_micro: Path
) -> None:
    for path in (*micro_bundles.values(), random_micro):
        assert run("verify", path)[:2] == (0, f"{path}: good\n")
        assert run.json("verify", path) == {"path": str(path), "ok": True, "problems": []}


def test_all_damage_of_a_bundle_is_listed(run: Command, copy: Path) -> None:
    (copy / "flow.onnx").unlink()
    (copy / "tekken.json").write_bytes((copy / "tekken.json").read_bytes()[:-1])
    data = bytearray((copy / "backbone.onnx.data").read_bytes())
    data[50] ^= 8
    (copy / "backbone.onnx.data").write_bytes(data)
    (copy / "more.bin").write_bytes(b"")
    found = problems(run, copy)
    assert len(found) == 4
    for says in ("flow.onnx: is missing", "tekken.json: has another size",
                 "backbone.onnx.data: was changed", "more.bin: does not belong"):  # fmt: skip
        assert any(says in line for line in found)


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda m: m.update(schema=2), "schema"), (lambda m: m["graphs"].pop("flow"), "graphs"),
     (lambda m: m["sampling"].pop("steps"), "sampling.steps"),
     (lambda m: m["model"]["params"].update(dim=-1), "dim"),
     (lambda m: m["voices"]["first"].update(file="../../first.npy"), "outside")],
)  # fmt: skip
def test_a_wrong_manifest_is_damage(run: Command, copy: Path, change: object, says: str) -> None:
    edit_manifest(copy, change)
    assert any(says in line for line in problems(run, copy))


@pytest.mark.parametrize(
    "name", ["token_embeddings.npy", "voices/second.npy", "codec_decoder.onnx.data"]
)
def test_right_hashes_do_not_hide_nan(run: Command, copy: Path, name: str) -> None:
    if name.endswith(".npy"):
        array = np.load(copy / name)
        array[-1] = np.nan
        np.save(copy / name, array)
        content = (copy / name).read_bytes()
    else:
        content = np.full((copy / name).stat().st_size // 4, np.nan, dtype=np.float32).tobytes()
    overwrite(copy, name, content)
    assert any("not finite" in line for line in problems(run, copy))


def rewrite(bundle: Path, graph: str, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change a graph and make the manifest agree."""
    model = onnx.load(bundle / f"{graph}.onnx", load_external_data=False)
    change(model)
    overwrite(bundle, f"{graph}.onnx", model.SerializeToString())


def other_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "other"


def data_elsewhere(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "tekken.json"


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Nonsense"


@pytest.mark.parametrize("change", [other_output, data_elsewhere, unknown_operator])
@pytest.mark.parametrize("graph", ["backbone", "codec_encoder"])
def test_right_hashes_do_not_hide_a_wrong_graph(
    run: Command, copy: Path, graph: str, change: Callable[[onnx.ModelProto], None]
) -> None:
    rewrite(copy, graph, change)
    (line,) = problems(run, copy)
    assert f"{graph}.onnx" in line


def test_onnx_is_not_needed(run: Command, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the graphs are run whole; the base install has only the runtime."""
    monkeypatch.setattr("flowvox.cli.one_frame.find_spec", lambda name: None)
    assert run("verify", copy)[0] == 0
    rewrite(copy, "backbone", other_output)
    (line,) = problems(run, copy)
    assert "backbone.onnx" in line


def test_a_checkpoint_cut_short(run: Command, random_micro: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(random_micro, tmp_path / "checkpoint"))
    data = (copy / "consolidated.safetensors").read_bytes()
    (copy / "consolidated.safetensors").write_bytes(data[:-10])
    assert "damaged" in problems(run, copy)[0]


def test_a_checkpoint_that_lacks_its_tokenizer_or_has_a_broken_voice(
    run: Command, random_micro: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(random_micro, tmp_path / "checkpoint"))
    (copy / "voice_embedding" / "first.pt").write_bytes(b"not a zip")
    assert any("first" in line for line in problems(run, copy))
    (copy / "tekken.json").unlink()
    assert any("tekken.json" in line for line in problems(run, copy))


def test_neither_bundle_nor_checkpoint(run: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file", tmp_path / "nothing"):
        run.refused("neither a bundle", "verify", path)
