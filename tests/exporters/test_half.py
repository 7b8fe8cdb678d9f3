"""Graphs that compute in float16: for CUDA, and run here on the CPU, where each product is widened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.conftest import export

from flowvox.bundle import Bundle
from flowvox.noise import frame_noise
from flowvox.reference.speak import ReferenceTTS
from flowvox.runtime.engine import Engine, Run
from flowvox.schedule import flow_schedule

LARGEST_HALF = 65504
PRODUCTS = ("MatMul", "MatMulNBits")
TEXT = "Good morning, and welcome back."


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory, random_micro: Path) -> Path:
    return export(random_micro, "fp16-gpu", tmp_path_factory.mktemp("half") / "fp16-gpu")


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


@pytest.mark.parametrize("name", ["backbone", "flow"])
def test_no_weight_is_widened(half: Path, name: str) -> None:
    """A Cast of a weight is folded when the graph loads: it would cost twice the memory."""
    graph = onnx.load(half / f"{name}.onnx", load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    casts = {node.input[0] for node in nodes_of(graph) if node.op_type == "Cast"}
    assert casts
    small = {"acoustic_transformer.input_projection.weight.composed.half"}  # 36 columns
    assert not weights & casts - small


def test_attention_and_products_are_in_half_and_the_norms_are_not(half: Path) -> None:
    graph = onnx.load(half / "backbone.onnx", load_external_data=False).graph
    made = {output: node.op_type for node in graph.node for output in node.output}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in PRODUCTS:
            assert types[node.input[1]] == onnx.TensorProto.FLOAT16
        if node.op_type == "SkipSimplifiedLayerNormalization":
            assert made[node.input[1]] == "Cast", "the branch comes back to float32"
            assert types[node.input[2]] == onnx.TensorProto.FLOAT
    cache = [value for value in graph.input if value.name.startswith("past.")]
    assert {v.type.tensor_type.elem_type for v in cache} == {onnx.TensorProto.FLOAT16}


def test_the_runtime_speaks_with_them_and_keeps_the_cache_in_half(
    half: Path, micro_bundles: dict[str, Path]
) -> None:
    engines = [Engine(Bundle.open(p), "cpu", threads=1) for p in (half, micro_bundles["fp16"])]
    config, schedule = engines[0].config, flow_schedule("euler", 7, 1.2)
    noise = frame_noise(0, 6, config.codec.acoustic_dim)
    bundle = engines[0].bundle
    prompt = engines[0].embed_prompt(bundle.tokenizer().encode("Hello."), bundle.voice("first"))
    codes = np.zeros((5, config.n_codebooks), dtype=np.int32)
    ours, wide = (engine.teacher_forced(prompt, codes, noise, schedule) for engine in engines)
    for a, b in zip(ours, wide, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-3 * np.abs(b).max())
    assert list(engines[0].frames(prompt, noise, schedule, Run()))


def test_activations_of_the_trained_model_fit_into_half_with_room(tiny: Path) -> None:
    """Inputs and outputs of every matrix while the reference speaks; the largest are named."""
    tts, largest = ReferenceTTS.load(tiny), dict[str, float]()

    def watch(name: str) -> None:
        def hook(module: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            for kind, value in (("input", inputs[0]), ("output", output)):
                key = f"{name} {kind}"
                largest[key] = max(largest.get(key, 0.0), float(value.abs().max()))

        modules[name].register_forward_hook(hook)

    modules = {
        f"{part}.{name}": module
        for part in ("backbone", "flow")
        for name, module in getattr(tts.model, part).named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    for name in modules:
        watch(name)
    tts.generate(TEXT, "heart", seed=0, max_frames=40)
    ranked = sorted(largest, key=lambda key: -largest[key])
    report = ", ".join(f"{key} {largest[key]:.0f}" for key in ranked[:5])
    print(report)
    assert len(largest) == 2 * len(modules)
    assert largest[ranked[0]] < LARGEST_HALF / 16, report
