"""The recipes that borrow other people's quantizers, where those are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.conftest import export

from flowvox.quantizers.bnb import quantize_bnb4


def operators(graph: onnx.GraphProto) -> set[str]:
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= operators(attribute.g)
    return found


@pytest.mark.parametrize(
    ("recipe", "package", "operator"),
    [
        ("nf4", "bitsandbytes", "MatMulBnb4"),
        ("fp4", "bitsandbytes", "MatMulBnb4"),
        ("int8-dynamic", "optimum.onnxruntime", "MatMulInteger"),
    ],
)
def test_their_operator_takes_over(
    random_micro: Path, tmp_path: Path, recipe: str, package: str, operator: str
) -> None:
    pytest.importorskip(package)
    bundle = export(random_micro, recipe, tmp_path / recipe)
    for name in ("backbone", "flow"):
        model = onnx.load(bundle / f"{name}.onnx", load_external_data=False)
        assert operator in operators(model.graph)
        assert model.producer_name == "flowvox"


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_onnxruntime_reads_the_codes_as_bitsandbytes_does(kind: str) -> None:
    """MatMulBnb4 of the identity gives back what bitsandbytes de-quantizes to."""
    functional = pytest.importorskip("bitsandbytes.functional")
    weights = np.random.default_rng(0).normal(size=(24, 128)).astype(np.float32)
    encoded = quantize_bnb4(weights, kind, 64)
    node = helper.make_node(
        "MatMulBnb4", ["x", "q", "m"], ["y"], domain="com.microsoft", K=128, N=24, block_size=64,
        quant_type=("fp4", "nf4").index(kind),
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 128])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 24])],
        [numpy_helper.from_array(encoded.packed, "q"), numpy_helper.from_array(encoded.absmax, "m")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(
        None, {"x": np.eye(128, dtype=np.float32)}
    )
    packed, state = functional.quantize_4bit(
        torch.from_numpy(weights), blocksize=64, quant_type=kind
    )
    theirs = functional.dequantize_4bit(packed, state).numpy()
    np.testing.assert_allclose(y.T, theirs, atol=1e-5)
