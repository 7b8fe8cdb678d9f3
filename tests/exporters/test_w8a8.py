"""Products of 8-bit weights and 8-bit activations, as the builder writes them and onnxruntime runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.exporters.onnx.builder import GraphBuilder
from flowvox.graphs import GraphSpec, TensorSpec
from flowvox.quantizers.channels import quantize_channels
from flowvox.quantizers.weights import ChannelWeights

Floats = np.ndarray[Any, np.dtype[np.float32]]


class Matrices:
    """Stands for a component: matrices by name."""

    def __init__(self, **matrices: ChannelWeights) -> None:
        self._matrices = matrices

    def matrix(self, name: str) -> ChannelWeights:
        return self._matrices[name]


def products(folder: Path, **matrices: ChannelWeights) -> ort.InferenceSession:
    """A graph that multiplies `x` [rows, inputs] with each matrix into an output of its name."""
    inputs = next(iter(matrices.values())).levels.shape[1]
    outputs = tuple(
        TensorSpec(name, "float32", ("rows", len(m.levels))) for name, m in matrices.items()
    )
    spec = GraphSpec("products", (TensorSpec("x", "float32", ("rows", inputs)),), outputs)
    with GraphBuilder(spec, folder, Matrices(**matrices)) as g:
        for name in matrices:
            g.rename(g.linear("x", name), name)
        g.save()
    return ort.InferenceSession(str(folder / "products.onnx"))


def byte_rows(x: Floats) -> tuple[np.ndarray[Any, Any], Floats]:
    """Levels of each row in [-127, 127], and the row's step, in the order of the graph's roundings."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    levels = np.rint((x / largest) / np.float32(1 / 127)).astype(np.int64)
    return levels, largest / np.float32(127)


@pytest.mark.parametrize("shape", [(7, 5), (64, 96), (33, 3072)])
def test_the_integer_product_is_exact(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The largest levels of one sign: kernels that add pairs in 16 bits just hold 2 * 255 * 64."""
    rng = np.random.default_rng(0)
    levels = rng.choice(np.array([-64, -63, 63, 64], dtype=np.int8), size=shape)
    levels[0], levels[1] = 64, -64
    encoded = ChannelWeights(levels, np.ones(shape[0], dtype=np.float32))
    x = rng.choice(np.array([-127.0, -126, 126, 127], dtype=np.float32), size=(6, shape[1]))
    x[:, 0] = 127  # steps of exactly 1
    x[0] = 127
    (found,) = products(tmp_path, y=encoded).run(None, {"x": x})
    expected = x.astype(np.int64) @ levels.astype(np.int64).T
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=0)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), spread=st.floats(0, 4))
@settings(max_examples=25)
def test_it_is_what_the_formula_says(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(24, 40)).astype(np.float32)
    weights *= np.exp(spread * rng.normal(size=(24, 1))).astype(np.float32)
    x = rng.normal(size=(rows, 40)).astype(np.float32)
    x *= np.exp(spread * rng.normal(size=(rows, 1))).astype(np.float32)
    encoded = quantize_channels(weights, "search")
    (found,) = products(tmp_path_factory.mktemp("g"), y=encoded).run(None, {"x": x})
    levels, step = byte_rows(x)
    sums = levels @ encoded.levels.astype(np.int64).T
    np.testing.assert_allclose(found, sums * step * encoded.scales, rtol=1e-5, atol=0)


def test_a_large_row_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    """One scale for all rows would leave the small row no levels at all."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(48, 256)).astype(np.float32)
    x = rng.normal(size=(2, 256)).astype(np.float32) * np.array([[1], [1e5]], dtype=np.float32)
    (found,) = products(tmp_path, y=quantize_channels(weights, "search")).run(None, {"x": x})
    error = np.sqrt(
        np.square(found - x @ weights.T).mean(axis=1) / np.square(x @ weights.T).mean(1)
    )
    assert (error < 0.03).all()


def test_zeros_stay_zeros(tmp_path: Path) -> None:
    encoded = quantize_channels(np.eye(8, dtype=np.float32), "round")
    (found,) = products(tmp_path, y=encoded).run(None, {"x": np.zeros((3, 8), dtype=np.float32)})
    np.testing.assert_array_equal(found, np.zeros((3, 8), dtype=np.float32))


def test_matrices_with_the_same_input_share_its_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    matrices = {
        name: quantize_channels(rng.normal(size=(8, 16)).astype(np.float32), "round")
        for name in ("q", "k", "v")
    }
    products(tmp_path, **matrices)
    graph = onnx.load(tmp_path / "products.onnx", load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("MatMulIntegerToFloat") == 3
