"""How fast this machine reads memory and multiplies: what `flowvox plan --device this` measures.

Synthetic matrices of the 4B model's feed-forward shape, more of them than a cache holds, in
onnxruntime sessions as the runtime opens them. No checkpoint is needed; 10 to 20 seconds.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from flowvox.machine import cores, cpu_features, cpu_name, memory_bytes
from flowvox.planner.devices import THIS, Device, Kernel, cpu_kernels, table_data
from flowvox.planner.formats import BASE_BLOCK, per_weight
from flowvox.recipe import Rule
from flowvox.runtime.sessions import session_options

INPUTS, OUTPUTS = 3072, 9216
BITS = {"int8": 8, "int4": 4, "int2": 2}
# Matrices of each kernel (planner.formats.kernels), about 120 MB.
MATRICES = {
    "float32": 1, "w8a8": 4, "int8": 4, "int4": 8, "int4/64": 8, "int4/128": 8, "int2": 12,
}  # fmt: skip
BLOCKS = {"int2": 64}  # others, where nothing is said, planner.formats.BASE_BLOCK
FEW, MANY = 6, 64  # rows: the flow head's three tokens in two guidance branches; a piece of prompt
PASSES, SECONDS = 9, 0.6
STREAM_BYTES = 128 << 20
LEFT_TO_SYSTEM = 0.1
VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}


def measure_this(threads: int | None = None) -> Device:
    """This machine's processor as a Device. Without the onnx package only the memory is measured."""
    threads = threads or cores()
    bandwidth = read_bandwidth(threads)
    cpu = table_data()["cpu"]
    share = cpu["share"]
    memory = (memory_bytes() or 0) / 1e9
    try:
        kernels = _kernels(threads)
        source = f"measured here, {threads} threads"
        share = min(1.0, kernels["int4"].read / bandwidth)
    except ModuleNotFoundError:
        kernels = cpu_kernels(_instruction_set(), threads, bandwidth * share)
        source = (
            f"bandwidth measured here, {threads} threads; arithmetic from the table, because matrices "
            'are only measured with pip install "flowvox[export]"'
        )
    return Device(
        name=THIS,
        title=cpu_name(),
        kind="cpu",
        memory=memory,
        usable=memory * (1 - LEFT_TO_SYSTEM),
        bandwidth=bandwidth,
        share=share,
        kernels=kernels,
        call_us=cpu["call_us"],
        sources=(source,),
    )


def read_bandwidth(threads: int) -> float:
    """GB/s of reading memory: the best of several sums over arrays larger than the caches."""
    arrays = [np.ones(STREAM_BYTES // 8) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        best = min(_seconds(lambda: list(pool.map(np.sum, arrays))) for _ in range(2 * PASSES))
    return threads * STREAM_BYTES / best / 1e9


def _kernels(threads: int) -> dict[str, Kernel]:
    kernels = {name: _kernel(name, threads) for name in MATRICES}
    kernels["float16"] = kernels["float32"]  # the CPU widens it when it loads
    kernels["int8-dynamic"] = kernels["w8a8"]  # the same product
    return kernels


def _kernel(name: str, threads: int) -> Kernel:
    storage, _, block = name.partition("/")
    rule = Rule("*", storage, block=int(block or BLOCKS.get(storage, BASE_BLOCK)))
    session = _session(_products(rule, MATRICES[name]), threads)
    one, few, many = (_run_seconds(session, rows) for rows in (1, FEW, MANY))
    weights = MATRICES[name] * INPUTS * OUTPUTS
    bytes_read = weights * per_weight(rule)
    operations = 2 * weights / 1e9
    return Kernel(bytes_read / one / 1e9, operations * FEW / few, operations * MANY / many)


def _products(rule: Rule, count: int) -> Any:
    """A model that multiplies `x` [rows, INPUTS] by `count` random matrices stored so."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, constants, results = [], [], []

    def constant(label: str, values: np.ndarray[Any, Any]) -> str:
        constants.append(numpy_helper.from_array(values, label))
        return label

    if rule.format == "w8a8":  # activations by the row cost a few small nodes more
        nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]))
        constant("steps", np.full(OUTPUTS, 0.01, dtype=np.float32))
    for i in range(count):
        shape = (INPUTS, OUTPUTS)
        if rule.format == "float32":
            weight = constant(f"w{i}", rng.standard_normal(shape, dtype=np.float32))
            nodes.append(helper.make_node("MatMul", ["x", weight], [f"y{i}"]))
        elif rule.format == "w8a8":
            weight = constant(f"w{i}", rng.integers(-64, 65, shape, dtype=np.int8))
            operands = ["q", weight, "scale", "steps", "zero"]
            kind, domain = "MatMulIntegerToFloat", "com.microsoft"
            nodes.append(helper.make_node(kind, operands, [f"y{i}"], domain=domain))
        else:
            bits, block = BITS[rule.format], rule.block
            blocks = INPUTS // block
            packed = rng.integers(0, 256, (OUTPUTS, blocks, block * bits // 8), dtype=np.uint8)
            scales = np.full(OUTPUTS * blocks, 0.01, dtype=np.float32)
            operands = ["x", constant(f"w{i}", packed), constant(f"s{i}", scales)]
            node = helper.make_node(
                "MatMulNBits", operands, [f"y{i}"], domain="com.microsoft", K=INPUTS, N=OUTPUTS,
                bits=bits, block_size=block, accuracy_level=4,
            )  # fmt: skip
            nodes.append(node)
        results.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["rows", OUTPUTS]))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", INPUTS])]
    graph = helper.make_graph(nodes, "products", given, results, constants)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _session(model: Any, threads: int) -> Any:
    import onnxruntime as ort

    return ort.InferenceSession(
        model.SerializeToString(), session_options(threads), providers=["CPUExecutionProvider"]
    )


def _run_seconds(session: Any, rows: int) -> float:
    """Median seconds of a run after one that does not count."""
    x = np.random.default_rng(1).standard_normal((rows, INPUTS), dtype=np.float32)
    session.run(None, {"x": x})
    times: list[float] = []
    while len(times) < 3 or (len(times) < PASSES and sum(times) < SECONDS):
        times.append(_seconds(lambda: session.run(None, {"x": x})))
    return statistics.median(times)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _instruction_set() -> str:
    features = set(cpu_features())
    if platform.machine().lower() in {"aarch64", "arm64"}:
        return "neon-i8mm" if "i8mm" in features else "neon-dotprod"
    return "x86-vnni" if features & VNNI else "x86-avx2"
