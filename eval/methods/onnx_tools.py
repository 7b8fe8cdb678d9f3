"""onnxruntime's MatMulNBitsQuantizer and optimum's dynamic quantization, on a graph of all matrices.

Each matrix has an input of its own. What a tool made of it is read back by multiplying the identity:
whatever the tool wrote, that is what onnxruntime computes with.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from flowvox.eval.methods.method import SCALE_BITS, Encoded, Floats, Method
from flowvox.quantizers.allocation.sensitivity import rounded
from flowvox.quantizers.folding.preparation import Statistics
from flowvox.source import ModelSource

BLOCK = 32
FLOW_TOKENS = 3
# Seen in its source and in results that equal RTN's: the update of later columns reads the lower
# triangle of an upper triangular factor.
GPTQ = "in onnxruntime 1.32 no column makes up for another's error: it equals RTN on another grid"
Make = Callable[[onnx.ModelProto, "Inputs"], onnx.ModelProto]


def onnx_methods() -> list[Method]:
    """4 bits in blocks of 32 as the tool names its algorithms, and 8-bit integers by optimum."""
    blocks = partial(rounded, block=BLOCK)
    return [
        _method("default", "onnxruntime", partial(_default, True), 4.5, blocks),
        _method("default, zero points", "onnxruntime", partial(_default, False), 4.625, blocks),
        _method("RTN", "onnxruntime", partial(_algorithm, "RTN", True), 4.5, blocks),
        _method("RTN, zero points", "onnxruntime", partial(_algorithm, "RTN", False), 4.625, blocks),
        _method("k_quant", "onnxruntime", partial(_algorithm, "k_quant", False), 4.625, blocks),
        _method("GPTQ", "onnxruntime", partial(_algorithm, "GPTQ", True), 4.5, blocks, GPTQ),
        _method("GPTQ, zero points", "onnxruntime", partial(_algorithm, "GPTQ", False), 4.625,
                blocks, GPTQ),
        _method("HQQ", "onnxruntime", _hqq, 4 + 2 * SCALE_BITS / BLOCK, None,
                "zero points are floats: the kernel computes in float32, about 100 times slower"),
        _method("dynamic int8", "optimum", _dynamic, 8.0, one_scale, "one activation scale a call"),
    ]  # fmt: skip


def _method(
    name: str, tool: str, make: Make, bits: float, inputs: Callable[[Tensor], Tensor] | None,
    notes: str = "",
) -> Method:  # fmt: skip
    def encode(
        names: Sequence[str], source: ModelSource, statistics: Statistics
    ) -> Mapping[str, Encoded]:
        weights = {name: source.read(name) for name in names}
        graph, known = float_graph(weights), Inputs(weights, statistics)
        with contextlib.redirect_stdout(io.StringIO()):  # progress bars
            values = read_back(make(graph, known), weights)
        return {name: Encoded(values[name], bits, inputs) for name in names}

    return Method(name, tool, encode, notes=notes)


class Inputs:
    """Of every matrix rows whose second moments are those that calibration saw: for GPTQ."""

    def __init__(self, weights: Mapping[str, Floats], statistics: Statistics) -> None:
        self._weights, self._statistics = weights, statistics

    def rows(self) -> dict[str, Floats]:
        """By input of the graph: X [columns, columns] with X^T X / columns the Hessian."""
        return {f"x.{name}": self._factor(name) for name in self._weights}

    def _factor(self, name: str) -> Floats:
        hessian = self._statistics(name).hessian().astype(np.float64)
        values, vectors = np.linalg.eigh(hessian)
        root = np.sqrt(np.clip(values, 0, None) * len(hessian))
        factor: Floats = (root[:, None] * vectors.T).astype(np.float32)
        return factor


def float_graph(weights: Mapping[str, Floats]) -> onnx.ModelProto:
    """y.NAME = x.NAME times the matrix NAME, for all of them."""
    nodes, stored = [], []
    inputs: list[onnx.ValueInfoProto] = []
    outputs: list[onnx.ValueInfoProto] = []
    for name, matrix in weights.items():
        rows, columns = matrix.shape
        nodes.append(
            helper.make_node("MatMul", [f"x.{name}", f"w.{name}"], [f"y.{name}"], f"n.{name}")
        )
        for found, kind, width in ((inputs, "x", columns), (outputs, "y", rows)):
            axes = [f"{kind}.{name}.rows", width]
            found.append(helper.make_tensor_value_info(f"{kind}.{name}", TensorProto.FLOAT, axes))
        stored.append(numpy_helper.from_array(np.ascontiguousarray(matrix.T), f"w.{name}"))
    graph = helper.make_graph(nodes, "matrices", inputs, outputs, stored)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def read_back(model: onnx.ModelProto, weights: Mapping[str, Floats]) -> dict[str, Floats]:
    """The matrices as the quantized graph multiplies with them."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {
        f"x.{name}": np.eye(matrix.shape[1], dtype=np.float32) for name, matrix in weights.items()
    }
    products = session.run([f"y.{name}" for name in weights], feeds)
    return {
        name: np.ascontiguousarray(product.T)
        for name, product in zip(weights, products, strict=True)
    }


def one_scale(x: Tensor) -> Tensor:
    """DynamicQuantizeLinear of each position's values: uint8 between their least and largest, 0 in it.

    A call of the graph is one position of the backbone; the flow head's tokens share a scale.
    """
    axes = (1, 2) if x.ndim == 3 and x.shape[1] <= FLOW_TOKENS else (-1,)
    low, high = x.amin(axes, keepdim=True).clamp(max=0), x.amax(axes, keepdim=True).clamp(min=0)
    step = ((high - low) / 255).clamp_min(1e-30)
    zero = (-low / step).round()
    return ((x / step + zero).round().clamp(0, 255) - zero) * step


def _default(symmetric: bool, model: onnx.ModelProto, inputs: Inputs) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig

    return _process(model, DefaultWeightOnlyQuantConfig(BLOCK, symmetric))


def _hqq(model: onnx.ModelProto, inputs: Inputs) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import HQQWeightOnlyQuantConfig

    return _process(model, HQQWeightOnlyQuantConfig(BLOCK))


def _algorithm(
    name: str, symmetric: bool, model: onnx.ModelProto, inputs: Inputs
) -> onnx.ModelProto:
    from onnxruntime.quantization import matmul_nbits_quantizer as tools

    if name == "GPTQ":
        config: Any = tools.GPTQWeightOnlyQuantConfig([inputs.rows()])
    elif name == "RTN":
        config = tools.RTNWeightOnlyQuantConfig()
    else:
        config = tools.KQuantWeightOnlyQuantConfig()
    return _process(model, config, symmetric)


def _process(model: onnx.ModelProto, config: Any, symmetric: bool = True) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        model, block_size=BLOCK, is_symmetric=symmetric, algo_config=config
    )
    quantizer.process()
    made: onnx.ModelProto = quantizer.model.model
    return made


def _dynamic(model: onnx.ModelProto, inputs: Inputs) -> onnx.ModelProto:
    from flowvox.exporters.onnx.dynamic import quantize_dynamic

    with TemporaryDirectory() as folder:
        file = Path(folder) / "matrices.onnx"
        onnx.save(model, file, save_as_external_data=True, location=f"{file.name}.data")
        quantize_dynamic(Path(folder), file.stem, [node.name for node in model.graph.node])
        return onnx.load(file)
