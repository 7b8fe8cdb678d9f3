"""What a weight costs in each storage format: on disk, in memory, and each time it is read.

The bytes on disk restate quantizers.encode.stored_bytes, because this package may not import the
quantizers; a test holds them together.
"""

from __future__ import annotations

import math
from dataclasses import replace

from flowvox.errors import FlowvoxError
from flowvox.recipe import TABLES, Rule
from flowvox.tensors import WEIGHT_NORM_DIRECTION, Shape, component_of

# The formats that onnxruntime has a kernel for, and whose speed somebody measured (fp4: nobody).
KERNELS = {
    "cpu": ("float32", "float16", "int8", "int4", "int2", "w8a8", "int8-dynamic", "nf4"),
    "cuda": ("float32", "float16", "int8", "int4", "nf4"),
}
# Where blocks make the speed, kernels may have figures by weights a block: "int4/128". Without, int4 in
# blocks of 32 stands for all.
BY_BLOCK = {"int4"}
BASE_BLOCK = 32
PLAIN = {"float32": 4, "float16": 2}
CHANNELS = {"w8", "w8a8", "int8-dynamic"}  # a byte a weight, a float32 scale per output channel
# bits of a level, bytes of a block's scale
BLOCKED = {"int8": (8, 2), "int4": (4, 2), "int2": (2, 2), "nf4": (4, 4), "fp4": (4, 4)}
# On a processor MatMulNBits keeps its blocks in the kernel's own layout, with a float32 scale and a
# float32 sum each; that is what it reads. The scales, widened to float32, stay beside it: 2.67 GB
# anonymous for the 1.70 GB of the 4B backbone in 4-bit blocks of 32 (onnxruntime 1.32, x86).
READ, WIDE = 8, 12
# The most rows that a CUDA kernel multiplies block by block. Beyond, the whole weight is expanded to
# float16, written and read again (onnxruntime: contrib_ops/cuda/matmul_nbits_small_m_experiments.md).
MOST_ROWS = {"int8": 5, "int4": 16, "nf4": 1, "fp4": 1}
EXPANDED = 4


def applied(name: str, shape: Shape, rule: Rule) -> Rule:
    """The rule as it applies: only matrices are quantized, and convolutions to w8."""
    matrix = len(shape) == 2 and "quantizer." not in name
    matrix |= rule.format == "w8" and name.endswith(WEIGHT_NORM_DIRECTION)
    if matrix or rule.format in PLAIN or rule.format == "omit":
        return rule
    return replace(rule, format="float32")


def stored_bytes(name: str, shape: Shape, rule: Rule) -> int:
    """Bytes that the tensor takes on disk, alignment aside."""
    rule, size = applied(name, shape, rule), math.prod(shape)
    if rule.format == "omit":
        return 0
    if rule.format in PLAIN:
        return size * PLAIN[rule.format]
    table = component_of(name) in TABLES
    if rule.format in CHANNELS or (rule.format == "int8" and table):
        return size + 4 * shape[0]
    if rule.format in {"nf4", "fp4"}:
        return size // 2 + 4 * -(-size // rule.block)
    bits, scale = BLOCKED[rule.format]
    blocks = -(-shape[1] // rule.block)
    zeros = 0 if rule.symmetric else -(-blocks * bits // 8)
    return shape[0] * (blocks * (rule.block * bits // 8 + scale) + zeros)


def per_weight(rule: Rule) -> float:
    """Bytes per weight of a large matrix on disk. Raises FlowvoxError for a format without figures."""
    if rule.format in PLAIN:
        return float(PLAIN[rule.format])
    if rule.format in BLOCKED:
        bits, scale = BLOCKED[rule.format]
        zero = 0 if rule.symmetric else bits / 8
        return bits / 8 + (scale + zero) / rule.block
    if rule.format in CHANNELS:
        return 1.0
    raise FlowvoxError(f"the planner has no figures for the format {rule.format}")


def is_widened(rule: Rule, kind: str) -> bool:
    """Whether the weights are float32 as soon as they are loaded."""
    return rule.format == "w8" or (kind == "cpu" and rule.format == "float16")


def kernels(rule: Rule) -> tuple[str, ...]:
    """The kernels that may multiply a matrix stored so, the most particular first."""
    if rule.format in BY_BLOCK:
        return f"{rule.format}/{rule.block}", rule.format
    return ("float32" if rule.format == "w8" else rule.format,)


def resident(rule: Rule, kind: str) -> float:
    """Bytes per weight in memory while it runs. The CPU widens float16 when it loads."""
    if is_widened(rule, kind):
        return float(PLAIN["float32"])
    if kind == "cpu" and rule.format in {"int8", "int4", "int2"}:
        return BLOCKED[rule.format][0] / 8 + WIDE / rule.block
    return per_weight(rule)


def read_on_cpu(rule: Rule) -> float:
    """Bytes per weight that a processor's kernel reads for one row, in its own layout."""
    if rule.format in {"int8", "int4", "int2"}:
        return BLOCKED[rule.format][0] / 8 + READ / rule.block
    return resident(rule, "cpu")


def moved(rule: Rule, kind: str, rows: float) -> float:
    """Bytes per weight that one product of so many rows moves through memory."""
    if is_widened(rule, kind):
        return float(PLAIN["float32"])
    if kind == "cuda" and rows > MOST_ROWS.get(rule.format, rows):
        return per_weight(rule) + EXPANDED
    return per_weight(rule)
