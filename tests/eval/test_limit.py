"""The backbone beside the memory's bandwidth and llama.cpp."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from gguf import GGUFReader

from flowvox.errors import FlowvoxError
from flowvox.eval import limit, probe
from flowvox.eval.limit import bench_limit
from flowvox.exporters.gguf.synthetic import VOCABULARY, write_synthetic_backbone
from flowvox.planner.published import shape_config


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STREAM_BYTES", 1 << 20)


def missing(package: str) -> str:
    raise PackageNotFoundError(package)


def test_the_share_is_stored_bytes_over_time_and_bandwidth(
    micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "version", missing)
    monkeypatch.setattr(limit, "read_bandwidth", lambda threads: 10.0)
    result = bench_limit(micro_bundles["int4"], rounds=1, threads=1)
    ours = result["backbone"]
    assert result["llama_cpp"] is None
    assert result["bandwidth_gb_s"] == 10
    assert ours["bytes"] / ours["ms"] / 1e6 == pytest.approx(ours["gb_s"])
    assert ours["share"] == pytest.approx(ours["gb_s"] / 10)
    assert ours["best_share"] >= ours["share"]
    assert ours["read_share"] == pytest.approx(ours["read_bytes"] / ours["ms"] / 1e7)
    assert ours["processor_ms"] > 0
    assert ours["memory"] is None or ours["memory"]["anonymous"] > 0


def test_llama_cpp_runs_the_same_shape(tiny_int4: Path) -> None:
    pytest.importorskip("llama_cpp")
    result = bench_limit(tiny_int4, rounds=1, threads=1)
    ours, peer = result["backbone"], result["llama_cpp"]
    assert peer["ratio"] == pytest.approx(peer["ms"] / ours["ms"])


def test_what_does_not_load_is_one_line(random_micro: Path) -> None:
    with pytest.raises(FlowvoxError, match="not a bundle"):
        bench_limit(random_micro, rounds=1, threads=1)


def test_the_made_up_file_has_the_shape_of_the_backbone(tmp_path: Path) -> None:
    config = shape_config("tiny")
    write_synthetic_backbone(config, "q4_0", tmp_path / "x.gguf")
    tensors = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "x.gguf").tensors}
    backbone = config.backbone
    assert len(tensors) == 2 + 9 * backbone.n_layers
    assert list(tensors["token_embd.weight"].shape) == [backbone.dim, VOCABULARY]
    down = tensors["blk.0.ffn_down.weight"]
    assert list(down.shape) == [backbone.hidden_dim, backbone.dim]
    assert down.tensor_type.name == "Q4_0"
