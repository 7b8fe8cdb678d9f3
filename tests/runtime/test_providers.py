"""Which provider runs the graphs, with which options, and what is said where it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowvox.errors import FlowvoxError
from flowvox.graphs import BACKBONE, CODEC_DECODER, FLOW
from flowvox.runtime import cuda, providers
from flowvox.runtime.providers import (
    CPU,
    CUDA,
    TENSORRT,
    check_started,
    choose_providers,
    settled,
    tensorrt_options,
)

GPU = [TENSORRT, CUDA, CPU]  # what onnxruntime-gpu lists


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine with NVIDIA's driver and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(providers, "has_driver", lambda: True)
    monkeypatch.setattr(providers, "find_libraries", lambda: None)
    cuda.warn_once.cache_clear()
    yield
    cuda.warn_once.cache_clear()


def names(chosen: list[Any]) -> list[str]:
    return [p if isinstance(p, str) else p[0] for p in chosen]


def test_auto_takes_cuda_where_it_is_there() -> None:
    assert names(choose_providers("auto", available=[CPU])) == [CPU]
    assert names(choose_providers("auto", available=GPU)) == [CUDA, CPU]
    assert names(choose_providers("cuda", available=GPU)) == [CUDA, CPU]
    assert names(choose_providers("cpu", available=GPU)) == [CPU]


def test_auto_is_the_cpu_for_what_cuda_is_slow_at() -> None:
    half, wide = {"compute": "float16"}, {"name": "int4"}
    assert settled("auto", half) == "auto"
    assert settled("auto", wide) == "cpu"
    assert settled("cuda", wide) == "cuda"


def test_without_a_driver_auto_does_not_even_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "has_driver", lambda: False)
    assert names(choose_providers("auto", available=GPU)) == [CPU]
    with pytest.raises(FlowvoxError, match="driver"):
        choose_providers("cuda", available=GPU)


def test_only_the_backbone_is_captured() -> None:
    """The flow head has a Loop, and the codec's shapes change."""
    captured = {
        graph: dict(choose_providers("cuda-graph", graph, GPU)[0][1]).get("enable_cuda_graph")
        for graph in (BACKBONE, FLOW, CODEC_DECODER)
    }
    assert captured == {BACKBONE: "1", FLOW: None, CODEC_DECODER: None}
    cuda.check_capture({"compute": "float16"})
    with pytest.raises(FlowvoxError, match="int4-gpu"):
        cuda.check_capture({"name": "int4"})


def test_tensorrt_gets_the_codec_only() -> None:
    """The other graphs are made of operators that it does not know."""
    chosen = {g: names(choose_providers("tensorrt", g, GPU)) for g in (BACKBONE, FLOW)}
    assert chosen == {BACKBONE: [CUDA, CPU], FLOW: [CUDA, CPU]}
    assert names(choose_providers("tensorrt", CODEC_DECODER, GPU)) == [TENSORRT, CUDA, CPU]
    assert Path(tensorrt_options()["trt_engine_cache_path"]).is_dir(), "onnxruntime makes one level"


@pytest.mark.parametrize("device", ["cuda", "cuda-graph", "tensorrt"])
def test_a_provider_that_is_not_there_is_named(device: Any) -> None:
    with pytest.raises(FlowvoxError, match="onnxruntime-gpu"):
        choose_providers(device, available=[CPU])


def test_a_provider_that_does_not_start_is_an_error_only_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(providers, "why_not", lambda name: "libcublas.so.13 is missing")
    session = SimpleNamespace(get_providers=lambda: [CPU])
    chosen = choose_providers("auto", available=GPU)
    check_started([CPU], "cpu", session)
    with pytest.raises(FlowvoxError, match=r"CUDA.*libcublas\.so\.13 is missing.*--device cpu"):
        check_started(chosen, "cuda", session)
    assert not caplog.records
    for _ in range(3):
        check_started(chosen, "auto", session)
    assert [r.message for r in caplog.records] == [
        f"{CUDA} is installed but cannot start (libcublas.so.13 is missing); the CPU is used"
    ]


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        ("libcublasLt.so.13: cannot open shared object file", r"\[cuda,cudnn\]"),
        ("libnvinfer.so.10: cannot open shared object file", "TensorRT"),
        (None, "nvidia-smi"),
    ],
)
def test_the_reason_comes_with_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, error: str | None, mend: str
) -> None:
    """The errors are those that onnxruntime-gpu 1.31.1 gives without a GPU."""

    def load(library: str) -> None:
        if error:
            raise OSError(error)

    monkeypatch.setattr(cuda.ctypes, "CDLL", load)
    message = cuda.why_not(CUDA)
    assert re.search(mend, message)
    assert error is None or message.startswith(error.split(":")[0])


def test_cuda_grows_its_arena_by_need_and_keeps_float32_exact() -> None:
    _, options = choose_providers("cuda", available=GPU)[0]
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert options["use_tf32"] == "0"


def test_tensorrt_keeps_its_engines_in_the_cache_of_the_user(tmp_path: Path) -> None:
    _, options = choose_providers("tensorrt", CODEC_DECODER, GPU)[0]
    assert options["trt_engine_cache_path"].startswith(str(tmp_path))


def recipe(flow: str, compute: str = "float16") -> dict[str, Any]:
    rules = [{"component": "backbone", "format": "int4"}, {"component": "flow", "format": flow}]
    return {"name": "x", "compute": compute, "rules": rules}


@pytest.mark.parametrize(
    ("recipe", "version", "advice"),
    [
        (recipe("float16"), "1.27.1", []),
        (recipe("int4"), "1.28.0", []),
        (recipe("int4"), "1.27.1", ["expands int4", "update"]),
        (recipe("int8"), "1.32.0", ["expands int8", "int4-gpu"]),
        (recipe("int4", "float32"), "1.32.0", ["float32", "int4-gpu", "fp16-gpu"]),
        ({"name": "x"}, "1.32.0", ["float32"]),
    ],
)
def test_what_is_slow_on_cuda_is_said(
    recipe: dict[str, Any], version: str, advice: list[str]
) -> None:
    said = " ".join(cuda.cuda_advice(recipe, version))
    assert bool(said) == bool(advice)
    assert all(word in said for word in advice)
