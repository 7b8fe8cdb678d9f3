"""How fast MatMulNBits is at one row and at the flow head's six, against float16, where it runs.

The ratio tells whether the installed onnxruntime has kernels for few rows on this GPU: with them six
rows cost little more than one, without them as much as float16 or more.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.runtime.binding import Memory
from flowvox.runtime.cuda import FLOW_ROWS
from flowvox.runtime.providers import Device, choose_providers
from flowvox.runtime.sessions import session_options

INPUTS, OUTPUTS, BLOCK = 3072, 9216, 32  # a feed-forward matrix of the 4B model
BITS = {"int4": 4, "int8": 8, "float16": 16}
ROWS = (1, FLOW_ROWS)
RUNS, WARM_UP = 30, 5


def probe_rows(device: Device, threads: int) -> dict[str, dict[int, float]]:
    """Median milliseconds of a product by format and rows, float16 in and out, bound to the device.

    Raises FlowvoxError where the device is not there.
    """
    return {
        name: {rows: _milliseconds(_session(bits, device, threads), rows) for rows in ROWS}
        for name, bits in BITS.items()
    }


def _milliseconds(session: ort.InferenceSession, rows: int) -> float:
    memory, binding = Memory.of(session), session.io_binding()
    x = np.random.default_rng(0).standard_normal((rows, INPUTS)).astype(np.float16)
    binding.bind_ortvalue_input("x", memory.put(x))
    binding.bind_ortvalue_output("y", memory.put(np.zeros((rows, OUTPUTS), np.float16)))
    times = []
    for _ in range(WARM_UP + RUNS):
        started = time.perf_counter()
        session.run_with_iobinding(binding)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[WARM_UP:])


def _session(bits: int, device: Device, threads: int) -> ort.InferenceSession:
    model, options = _product(bits).SerializeToString(), session_options(threads)
    return ort.InferenceSession(model, options, providers=choose_providers(device))


def _product(bits: int) -> Any:
    """A model of one product: x [rows, INPUTS] -> y [rows, OUTPUTS]."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(bits)
    if bits == 16:
        weights: dict[str, NDArray[Any]] = {
            "w": rng.standard_normal((INPUTS, OUTPUTS), np.float32).astype(np.float16)
        }
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
    else:
        blocks = INPUTS // BLOCK
        weights = {
            "w": rng.integers(0, 256, (OUTPUTS, blocks, BLOCK * bits // 8), dtype=np.uint8),
            "scales": np.full((OUTPUTS, blocks), 0.01, np.float16),
        }
        node = helper.make_node(
            "MatMulNBits", ["x", *weights], ["y"], domain="com.microsoft", K=INPUTS, N=OUTPUTS,
            bits=bits, block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["rows", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["rows", OUTPUTS])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
