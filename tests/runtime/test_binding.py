"""Values on the device: bound, not copied; the CPU runs the code that a GPU would."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from flowvox.bundle import Bundle
from flowvox.errors import FlowvoxError
from flowvox.noise import frame_noise
from flowvox.runtime.backbone import BackboneRunner, BackboneRunners
from flowvox.runtime.binding import Memory, Rows, run_bound
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


class Captured:
    """A session on the CPU that says its CUDA graphs are enabled."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {CUDA: {"enable_cuda_graph": "1"}}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def test_a_captured_step_reads_the_same_on_the_host_every_time(engine: Engine) -> None:
    """The length of the cache, of which attention takes what `seqlens_k` says."""
    session, dim = engine._sessions["backbone"], engine.config.backbone.dim
    plain = BackboneRunner(session, engine.config, 32)
    captured = BackboneRunner(session, engine.config, 32, graph_id=1)
    x = np.random.default_rng(2).normal(size=(9, dim)).astype(np.float32)
    np.testing.assert_array_equal(plain(x[:6]).numpy(), captured(x[:6]).numpy())
    host = []
    for i in range(6, 9):
        np.testing.assert_array_equal(plain(x[i : i + 1]).numpy(), captured(x[i : i + 1]).numpy())
        host.append(int(captured._total[0]))
    assert host == [32, 32, 32]


def test_captured_runs_have_the_id_of_their_runner_and_prompts_none(engine: Engine) -> None:
    runner = BackboneRunner(engine._sessions["backbone"], engine.config, 8, graph_id=5)
    ids = [o.get_run_config_entry("gpu_graph_id") for o in (runner._prompt_options, runner._step_options)]  # fmt: skip
    assert ids == ["-1", "5"]


def test_a_captured_runner_serves_one_utterance_after_another(engine: Engine) -> None:
    session, config = engine._sessions["backbone"], engine.config
    runners = BackboneRunners(Captured(session), config)
    x = np.random.default_rng(3).normal(size=(7, config.backbone.dim)).astype(np.float32)
    with runners.runner(7) as first:
        states = first(x).numpy()
        with runners.runner(7) as beside:
            assert beside is not first
    with runners.runner(8) as again:
        assert again is first
        np.testing.assert_array_equal(again(x).numpy(), states)
    with runners.runner(9) as longer:
        assert (first.positions, longer.positions) == (8, 16)
    plain = BackboneRunners(session, config)
    with plain.runner(7) as one, plain.runner(7) as other:
        assert one is not other
        assert one.positions == 7


def test_a_device_that_fails_is_one_line(engine: Engine) -> None:
    """As onnxruntime says it where it was not built for the GPU."""

    def fail(binding: object, options: object) -> None:
        raise RuntimeError("CUDA failure 209: no kernel image is available\n at line 1")

    session = SimpleNamespace(run_with_iobinding=fail, get_providers=lambda: [CUDA, CPU])
    with pytest.raises(FlowvoxError, match=r"no kernel image is available.*--device cpu") as caught:
        run_bound(session, None)
    assert "\n" not in str(caught.value)
