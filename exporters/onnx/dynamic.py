"""Dynamic int8 by optimum: a finished float graph with its matrix products made integer.

Weights become uint8 with a scale per output channel, activations uint8 with one scale per call,
found when the graph runs. To compare with what people get from optimum; the whole float graph is in
memory while it works.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import TensorProto, helper


def quantize_dynamic(folder: Path, graph: str, products: Collection[str]) -> None:
    """Replace the MatMul nodes `products` of `<graph>.onnx` by DynamicQuantizeLinear + MatMulInteger.

    `check_recipe` has seen that optimum is installed.
    """
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    logging.getLogger("optimum").setLevel(logging.ERROR)
    file, data = folder / f"{graph}.onnx", folder / f"{graph}.onnx.data"
    model = onnx.load(file, load_external_data=False)
    _declare_float(model.graph, products)
    onnx.save(model, file)
    # avx2: uint8 weights, whose products saturate on no CPU (int8 weights do without VNNI).
    config = AutoQuantizationConfig.avx2(is_static=False, per_channel=True)
    config.nodes_to_quantize = list(products)
    with TemporaryDirectory(dir=folder) as work:
        ORTQuantizer(file).quantize(config, work, use_external_data_format=True)
        quantized = onnx.load(Path(work) / f"{graph}_quantized.onnx")
    file.unlink()
    data.write_bytes(b"")  # onnx.save appends to it; of its own it makes one for this user only
    quantized.producer_name = model.producer_name
    quantized.producer_version = model.producer_version
    onnx.save(quantized, file, save_as_external_data=True, location=data.name)


def _declare_float(graph: onnx.GraphProto, products: Collection[str]) -> None:
    """Types of the products' outputs: shape inference does not see through contrib operators."""
    for node in graph.node:
        if node.name in products:
            graph.value_info.append(
                helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
            )
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _declare_float(attribute.g, products)
