"""What onnxruntime multiplies with is what the GGUF file says, bit for bit."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from flowvox.quantizers.ggml.formats import FORMATS, Floats
from flowvox.quantizers.ggml.repack import SAME, repack, repacks
from flowvox.quantizers.ggml.rows import dequantize_rows, quantize_rows
from flowvox.quantizers.weights import BlockWeights
from flowvox.recipe import Rule

FLOAT_ACTIVATIONS = 1  # accuracy level: nothing else is rounded


def multiplied(weights: BlockWeights, rows: int) -> Floats:
    """MatMulNBits of the identity: the weights as onnxruntime sees them."""
    node = helper.make_node(
        "MatMulNBits", ["x", "q", "s"], ["y"], domain="com.microsoft", K=weights.columns, N=rows,
        bits=weights.bits, block_size=weights.block, accuracy_level=FLOAT_ACTIVATIONS,
    )  # fmt: skip
    scales = weights.scales.astype(np.float32)
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, weights.columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, rows])],
        [numpy_helper.from_array(weights.packed, "q"), numpy_helper.from_array(scales, "s")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"x": np.eye(weights.columns, dtype=np.float32)})
    return y.T


@pytest.mark.parametrize("name", SAME)
def test_repacked_weights_are_equal(name: str) -> None:
    rng = np.random.default_rng(4)
    weights = rng.standard_t(4, size=(24, 512)).astype(np.float32)
    weights[3] = 0
    data = quantize_rows(name, weights)
    meant, taken = dequantize_rows(name, data), repack(name, data)
    np.testing.assert_array_equal(taken.dequantized(), meant)
    np.testing.assert_array_equal(multiplied(taken, 24), meant)


@pytest.mark.parametrize("name", SAME)
def test_any_bytes_repack(name: str) -> None:
    """Negative and subnormal scales too, whatever wrote them."""
    rng = np.random.default_rng(5)
    data = rng.integers(0, 256, size=(64, FORMATS[name].size), dtype=np.uint8)
    meant = dequantize_rows(name, data)
    finite = np.isfinite(meant).all(axis=1)
    np.testing.assert_array_equal(repack(name, data[finite]).dequantized(), meant[finite])


def test_only_what_the_rule_asks_for() -> None:
    assert repacks("q4_0", Rule("*", "int4", block=32))
    assert repacks("q6_k", Rule("*", "int8", block=16))
    assert not repacks("q6_k", Rule("*", "int8", block=32))
    assert not repacks("q8_0", Rule("*", "int4", block=32))
    assert not repacks("q4_k", Rule("*", "int4", block=32))
