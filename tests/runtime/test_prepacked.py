"""Pre-packed graphs: the same samples from mapped files, and never a wrong or foreign weight."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from flowvox import TTS
from flowvox.bundle import Bundle
from flowvox.errors import OutputError
from flowvox.graphs import BACKBONE, CODEC_DECODER, FLOW
from flowvox.runtime import prepack as writing
from flowvox.runtime import prepacked
from flowvox.runtime.prepack import prepack
from flowvox.runtime.prepacked import STAMP, cache_folder, clear_cache, find_prepacked, graph_files

GRAPHS = (BACKBONE, FLOW, CODEC_DECODER)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def bundle(micro_bundles: dict[str, Path], tmp_path: Path) -> Bundle:
    return Bundle.open(Path(shutil.copytree(micro_bundles["int4"], tmp_path / "bundle")))


def spoken(path: Path) -> np.ndarray:
    tts = TTS.load(path, device="cpu", threads=1)
    return tts.say("Hello there.", seed=1, max_seconds=0.4).samples


def opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that the sessions of a bundle are opened from."""
    seen = []
    session = ort.InferenceSession

    def watched(file: str, *rest: object, **more: object) -> ort.InferenceSession:
        seen.append(file)
        return session(file, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ort, "InferenceSession", watched)
        spoken(path)
    return seen


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "int8", "int4"])
def test_the_samples_stay_the_same_to_the_last_bit(
    micro_bundles: dict[str, Path], recipe: str
) -> None:
    path = micro_bundles[recipe]
    before = spoken(path)
    assert set(prepack(Bundle.open(path))) == set(GRAPHS)
    np.testing.assert_array_equal(spoken(path), before)


def test_sessions_open_what_was_written(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(file.startswith(str(bundle.path)) for file in opened(bundle.path, monkeypatch))
    prepack(bundle)
    files = opened(bundle.path, monkeypatch)
    assert len(files) == len(GRAPHS)
    assert all(file.startswith(str(cache)) for file in files)


def test_what_is_there_is_not_written_again(bundle: Bundle) -> None:
    times = [folder.stat().st_mtime_ns for folder in prepack(bundle).values()]
    assert [folder.stat().st_mtime_ns for folder in prepack(bundle).values()] == times


def flip(folder: Path) -> None:
    file = folder / graph_files(BACKBONE)[1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(folder: Path) -> None:
    file = folder / graph_files(BACKBONE)[1]
    file.write_bytes(file.read_bytes()[:-1])


def lose(folder: Path) -> None:
    (folder / graph_files(BACKBONE)[1]).unlink()


def edit_graph_unseen(folder: Path) -> None:
    """Other content of the same size and time: a graph could name other weights."""
    file = folder / graph_files(BACKBONE)[0]
    status, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def link(folder: Path) -> None:
    file = folder / graph_files(BACKBONE)[1]
    outside = Path(shutil.move(file, folder.parent.parent / "outside"))
    file.symlink_to(outside)


def swap(folder: Path) -> None:
    """The folder of another graph under this one's name."""
    other = next(f for f in folder.parent.iterdir() if f != folder)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def spoil_stamp(folder: Path) -> None:
    (folder / STAMP).write_text("[")


def strange_stamp(folder: Path) -> None:
    stamp = json.loads((folder / STAMP).read_text())
    stamp["files"] = 3
    (folder / STAMP).write_text(json.dumps(stamp))


@pytest.mark.parametrize(
    "damage", [flip, cut, lose, edit_graph_unseen, link, swap, spoil_stamp, strange_stamp]
)
def test_a_damaged_one_is_named_and_not_used(
    bundle: Bundle, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = spoken(bundle.path)
    folder = prepack(bundle)[BACKBONE]
    damage(folder)
    with caplog.at_level(logging.WARNING):
        assert find_prepacked(bundle, BACKBONE) is None
    (record,) = caplog.records
    assert str(folder) in record.getMessage()
    np.testing.assert_array_equal(spoken(bundle.path), before)
    prepack(bundle)
    assert find_prepacked(bundle, BACKBONE) is not None


def test_another_users_is_not_used(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    prepack(bundle)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert find_prepacked(bundle, BACKBONE) is None


@pytest.mark.parametrize("what", ["onnxruntime", "processor", "weights"])
def test_another_machine_version_or_weight_has_another_folder(
    bundle: Bundle, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepack(bundle)[BACKBONE]
    if what == "onnxruntime":
        monkeypatch.setattr(ort, "__version__", "1.99.0")
    elif what == "processor":
        monkeypatch.setattr(prepacked, "cpu_identity", lambda: "another")
    else:
        bundle.manifest["files"]["backbone.onnx.data"]["sha256"] = "0" * 64
    assert find_prepacked(bundle, BACKBONE) is None
    assert prepack(bundle)[BACKBONE] != folder
    assert not folder.exists()  # the older form of the same graph


def test_graphs_of_a_vanished_bundle_go_when_the_next_is_written(
    bundle: Bundle, micro_bundles: dict[str, Path]
) -> None:
    folders = prepack(bundle)
    shutil.rmtree(bundle.path)
    prepack(Bundle.open(micro_bundles["int8"]))
    assert not folders[BACKBONE].exists()


def test_a_copy_that_computes_something_else_is_not_kept(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writing, "_same", lambda one, other, feeds: False)
    TTS.load(bundle.path, device="cpu", prepack=True)
    assert "something else" in caplog.text
    assert list(cache.iterdir()) == []


def test_a_full_disk_is_a_warning_and_leaves_nothing(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = type("usage", (), {"free": 10_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(OutputError, match="XDG_CACHE_HOME"):
        prepack(bundle)
    tts = TTS.load(bundle.path, device="cpu", prepack=True)
    assert len(caplog.records) == 1
    assert len(tts.say("Hello.", max_seconds=0.2).samples) > 0
    assert list(cache.iterdir()) == []


def test_all_can_be_removed(bundle: Bundle, cache: Path) -> None:
    prepack(bundle)
    assert clear_cache() > 0
    assert not cache.exists()
    assert clear_cache() == 0
