"""Values on the device: bound, not copied; the CPU runs the code that a GPU would."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from flowvox.bundle import Bundle
from flowvox.noise import frame_noise
from flowvox.runtime.backbone import BackboneRunner
from flowvox.runtime.binding import Memory, Rows
from flowvox.runtime.codec import CodecStream
from flowvox.runtime.engine import Engine
from flowvox.runtime.flow_head import FlowRunner
from flowvox.runtime.providers import CPU, CUDA, TENSORRT
from flowvox.schedule import flow_schedule


@pytest.fixture(scope="module")
def engine(micro_bundles: dict[str, Path]) -> Engine:
    return Engine(Bundle.open(micro_bundles["fp32"], verify=False), "cpu", threads=1)


def fake_session(*providers: str, index: str = "0") -> Any:
    options = {name: {"device_id": index} for name in providers}
    return SimpleNamespace(
        get_providers=lambda: list(providers), get_provider_options=lambda: options
    )


@pytest.mark.parametrize(
    ("session", "memory"),
    [
        (fake_session(CPU), Memory("cpu", 0)),
        (fake_session(CUDA, CPU, index="1"), Memory("cuda", 1)),
        (fake_session(TENSORRT, CUDA, CPU), Memory("cuda", 0)),
    ],
)
def test_values_lie_where_the_provider_computes(session: Any, memory: Memory) -> None:
    assert Memory.of(session) == memory


class FakeValue:
    """Memory of a GPU that is not there: keeps what it was asked for."""

    def __init__(self, array: np.ndarray, device: str, index: int) -> None:
        self.array, self.device, self.index = array, device, index

    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def data_ptr(self) -> int:
        return 4096


def test_on_a_gpu_values_are_made_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", FakeValue)
    declared = SimpleNamespace(type="tensor(float16)", shape=[1, 2, "max_positions", 16])
    value = Memory("cuda", 1).zeros(declared, max_positions=300)
    assert (value.device, value.index) == ("cuda", 1)
    assert (value.shape(), value.array.dtype) == ((1, 2, 300, 16), np.float16)


def test_the_last_row_is_bound_by_its_address() -> None:
    bound: list[Any] = []
    binding = SimpleNamespace(bind_input=lambda *arguments: bound.append(arguments))
    rows = Rows.of(FakeValue(np.zeros((1, 5, 8), np.float32), "cuda", 1))
    rows.last().bind(binding, "hidden", Memory("cuda", 1))
    assert bound == [("hidden", "cuda", 1, np.float32, [1, 8], 4096 + 4 * 8 * 4)]


def test_rows_are_those_of_the_value() -> None:
    array = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    rows = Rows.of(Memory().put(array))
    np.testing.assert_array_equal(rows.numpy(), array[0])
    np.testing.assert_array_equal(rows.last().numpy(), array[0, 2:])


def test_cache_and_hidden_state_of_a_step_keep_their_memory(engine: Engine) -> None:
    session, dim = engine._sessions["backbone"], engine.config.backbone.dim
    runner = BackboneRunner(session, engine.config, 20)
    x = np.random.default_rng(0).normal(size=(6, dim)).astype(np.float32)
    runner(x[:4])
    cache = {name: value.data_ptr() for name, value in runner._cache.items()}
    first = runner(x[4:5])
    before = first.numpy()
    second = runner(x[5:6])
    assert first.value.data_ptr() == second.value.data_ptr()
    assert not np.array_equal(before, second.numpy())
    assert cache == {name: value.data_ptr() for name, value in runner._cache.items()}
    keys = runner._cache[".0.key"].numpy()
    assert np.abs(keys[:, :, :6]).min() > 0, "the graph writes into the cache in place"
    assert not keys[:, :, 6:].any()


def test_bound_graphs_give_what_run_gives(engine: Engine) -> None:
    """Backbone to flow head without the host in between, against plain feeds."""
    config = engine.config
    schedule, noise = flow_schedule("euler", 3, 1.2), frame_noise(0, 2, config.codec.acoustic_dim)
    prompt = np.random.default_rng(1).normal(size=(5, config.backbone.dim)).astype(np.float32)
    flow = FlowRunner(engine._sessions["flow"])
    hidden = BackboneRunner(engine._sessions["backbone"], config, 5)(prompt)
    results = [flow(hidden.last(), row[None], schedule) for row in noise]
    for row, (logits, latents) in zip(noise, results, strict=True):
        feeds = {"hidden": hidden.numpy()[-1:], "noise": row[None], "schedule": schedule}
        expected = engine._sessions["flow"].run(["semantic_logits", "latents"], feeds)
        np.testing.assert_array_equal(logits, expected[0])
        np.testing.assert_array_equal(latents, expected[1])


def test_the_codec_swaps_its_two_sets_of_state(engine: Engine) -> None:
    stream = CodecStream(engine.codec_session)
    codes = np.ones((3, engine.config.n_codebooks), dtype=np.int32)
    addresses = {value.data_ptr() for value in (*stream._state, *stream._next)}
    samples = [stream.decode(codes[i : i + 1]) for i in range(3)]
    assert {value.data_ptr() for value in (*stream._state, *stream._next)} == addresses
    whole = CodecStream(engine.codec_session).decode(codes)
    np.testing.assert_allclose(np.concatenate(samples), whole, atol=1e-6 * np.abs(whole).max())
