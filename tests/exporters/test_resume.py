"""An interrupted conversion keeps what is finished, and the next one goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowvox.bundle import WORK, Bundle
from flowvox.errors import FlowvoxError
from flowvox.exporters.onnx import bundle_export
from flowvox.exporters.onnx.bundle_export import export_bundle
from flowvox.exporters.onnx.check import Recording
from flowvox.graphs import GraphSpec
from flowvox.recipe import load_recipe
from flowvox.reference.activations import record
from flowvox.reference.checkpoint import Checkpoint

Convert = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def recordings(random_micro: Path) -> dict[str, Recording]:
    activations = record(Checkpoint.open(random_micro))
    return {name: Recording(*both) for name, both in activations.items()}


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done by the conversions of a test: "reference", and each graph that is built."""
    done: list[str] = []
    for name, build in bundle_export.BUILDERS.items():

        def noted(graph: Any, config: Any, name: str = name, build: Any = build) -> None:
            done.append(name)
            build(graph, config)

        monkeypatch.setitem(bundle_export.BUILDERS, name, noted)
    return done


@pytest.fixture
def convert(
    random_micro: Path, recordings: dict[str, Recording], tmp_path: Path, worked: list[str]
) -> Convert:
    """convert(recipe) writes tmp_path/out."""

    def run(recipe: str = "int4", **options: Any) -> dict[str, Any]:
        def recorded(source: object, report: object) -> dict[str, Recording]:
            worked.append("reference")
            return recordings

        source, chosen = Checkpoint.open(random_micro), load_recipe(recipe)
        return export_bundle(source, chosen, tmp_path / "out", recorded, **options)

    return run


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None, BaseException], None]:
    """stop_at(graph, error): the check of that graph raises the error; None: none does."""
    check = bundle_export.check_graph

    def choose(graph: str | None, error: BaseException) -> None:
        def checked(folder: Path, spec: GraphSpec, *rest: Any) -> dict[str, Any]:
            if spec.name == graph:
                raise error
            return check(folder, spec, *rest)

        monkeypatch.setattr(bundle_export, "check_graph", checked)

    return choose


@pytest.fixture
def interrupted(convert: Convert, stop_at: Any, tmp_path: Path, worked: list[str]) -> Path:
    """The folder that a conversion to int4 leaves when it is interrupted in its second graph."""
    stop_at("flow", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        convert()
    stop_at(None, KeyboardInterrupt())
    assert worked == ["reference", "backbone", "flow"]
    worked.clear()
    (left,) = tmp_path.iterdir()
    return left


def test_finished_graphs_are_not_made_again(
    convert: Convert, interrupted: Path, worked: list[str], micro_bundles: dict[str, Path]
) -> None:
    manifest = convert()
    assert worked == ["flow", "codec_decoder", "codec_encoder"]
    assert manifest == Bundle.open(interrupted.parent / "out").manifest
    assert manifest["files"] == Bundle.open(micro_bundles["int4"]).manifest["files"]
    assert [path.name for path in interrupted.parent.iterdir()] == ["out"]


def test_what_is_left_is_no_bundle(interrupted: Path) -> None:
    assert interrupted.name.endswith(".partial")
    assert not (interrupted / "manifest.json").exists()
    with pytest.raises(FlowvoxError, match="not a bundle"):
        Bundle.open(interrupted)


def test_another_recipe_starts_anew(convert: Convert, interrupted: Path, worked: list[str]) -> None:
    convert("int8")
    assert worked[:2] == ["reference", "backbone"]
    assert [path.name for path in interrupted.parent.iterdir()] == ["out"]


def test_another_version_starts_anew(
    convert: Convert, interrupted: Path, worked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowvox.exporters.onnx.parts.__version__", "0.0.0")
    convert()
    assert worked[:2] == ["reference", "backbone"]


def test_a_part_that_was_damaged_is_made_again(
    convert: Convert, interrupted: Path, worked: list[str]
) -> None:
    data = bytearray((interrupted / "backbone.onnx.data").read_bytes())
    data[100] ^= 1
    (interrupted / "backbone.onnx.data").write_bytes(data)
    convert()
    assert "backbone" in worked
    Bundle.open(interrupted.parent / "out")


@pytest.mark.parametrize("name", ["finished.json", "reference.npz"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": 3}'])
def test_damaged_notes_are_no_obstacle(
    convert: Convert, interrupted: Path, worked: list[str], name: str, content: bytes
) -> None:
    (interrupted / WORK / name).write_bytes(content)
    convert()
    assert worked[0] == "reference"
    Bundle.open(interrupted.parent / "out")


def test_half_written_files_are_cleared(convert: Convert, interrupted: Path) -> None:
    (interrupted / "voices").mkdir()
    (interrupted / "voices" / "old.npy").write_bytes(b"half")
    (interrupted / "more.bin").write_bytes(b"half")
    convert()
    assert Bundle.open(interrupted.parent / "out").voices == ["first", "second"]


@pytest.mark.parametrize("graph", ["backbone", "flow"])
def test_a_failed_check_leaves_nothing(
    convert: Convert, stop_at: Any, tmp_path: Path, graph: str
) -> None:
    stop_at(graph, FlowvoxError("the graph differs"))
    with pytest.raises(FlowvoxError):
        convert()
    assert list(tmp_path.iterdir()) == []


def test_an_overwritten_bundle_stays_until_the_new_one_stands(
    convert: Convert, stop_at: Any, tmp_path: Path
) -> None:
    convert("int8")
    stop_at("flow", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        convert("int4", overwrite=True)
    assert Bundle.open(tmp_path / "out").manifest["recipe"]["name"] == "int8"
    stop_at(None, KeyboardInterrupt())
    convert("int4", overwrite=True)
    assert Bundle.open(tmp_path / "out").manifest["recipe"]["name"] == "int4"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_progress_counts_every_tensor_once(
    random_micro: Path, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    from contextlib import contextmanager

    told: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def progress(label: str) -> Any:
        told[label] = []
        yield lambda done, total: told[label].append((done, total))

    source = Checkpoint.open(random_micro)
    out = tmp_path / "out"
    export_bundle(source, load_recipe("int4"), out, lambda s, r: recordings, progress=progress)
    assert list(told) == ["reading", "reference", "converting"]
    total = sum(source.stored_bytes(name) for name in source.shapes)
    assert {all_of_it for _, all_of_it in told["converting"]} == {total}
    done = [amount for amount, _ in told["converting"]]
    assert done == sorted(done)
    assert done[-1] == total
    assert told["reading"][-1][0] == (random_micro / "consolidated.safetensors").stat().st_size
    assert json.loads((out / "manifest.json").read_text())["model"]["source_sha256"]
