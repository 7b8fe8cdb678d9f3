"""Which provider runs the graphs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flowvox.errors import FlowvoxError
from flowvox.runtime.providers import CPU, CUDA, TENSORRT, check_started, choose_providers


def names(providers: list[object]) -> list[object]:
    return [p if isinstance(p, str) else p[0] for p in providers]


def test_auto_takes_cuda_where_it_is_there() -> None:
    assert names(choose_providers("auto", [CPU])) == [CPU]
    assert names(choose_providers("auto", [TENSORRT, CUDA, CPU])) == [CUDA, CPU]
    assert names(choose_providers("tensorrt", [TENSORRT, CUDA, CPU])) == [TENSORRT, CUDA, CPU]
    assert names(choose_providers("cpu", [CUDA, CPU])) == [CPU]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(FlowvoxError, match="onnxruntime-gpu"):
        choose_providers(device, [CPU])


def test_a_provider_that_does_not_start_is_an_error_only_where_it_was_asked_for() -> None:
    session = SimpleNamespace(get_providers=lambda: [CPU])
    check_started("auto", session)
    check_started("cpu", session)
    with pytest.raises(FlowvoxError, match="driver"):
        check_started("cuda", session)


def test_cuda_grows_its_arena_by_need_and_keeps_float32_exact() -> None:
    _, options = choose_providers("cuda", [CUDA, CPU])[0]
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert options["use_tf32"] == "0"


def test_tensorrt_keeps_its_engines_in_the_cache_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _, options = choose_providers("tensorrt", [TENSORRT, CPU])[0]
    assert options["trt_engine_cache_path"].startswith(str(tmp_path))
