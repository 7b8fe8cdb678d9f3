"""The formats that a group may have: the exporter places them, the device has a fast kernel.

What is left out, and why: 3, 5 and 6 bits (onnxruntime's MatMulNBits refuses them), 2 bits in blocks of
other sizes than 64 and 128 (a hundred times slower), 8 bits with zero points (twenty times slower at
the flow head's 6 rows), nf4 and int8-dynamic (comparisons).
"""

from __future__ import annotations

from dataclasses import replace

from flowvox.planner.formats import KERNELS
from flowvox.quantizers.allocation.groups import CACHE, Group
from flowvox.recipe import AFFINE, Rule
from flowvox.recipe import TABLES as COMPONENT_TABLES

MATRICES = (
    Rule("*", "float16"),
    Rule("*", "int8", block=32),
    Rule("*", "int8", block=128),
    Rule("*", "w8a8"),
    Rule("*", "int4", block=16),
    Rule("*", "int4", block=32),
    Rule("*", "int4", block=64),
    Rule("*", "int4", block=128),
    Rule("*", "int4", block=32, symmetric=False),
    Rule("*", "int4", block=64, symmetric=False),
    Rule("*", "int2", block=64),
    Rule("*", "int2", block=64, symmetric=False),
)
TABLES = (
    Rule("*", "float16"),
    Rule("*", "int8"),
    Rule("*", "int4", block=32),
    Rule("*", "int4", block=64),
    Rule("*", "int4", block=128),
)
CACHES = {  # of keys and values, the exact one first; None: a device of any kind
    "cpu": ("float32", "float16", "int8"),
    "cuda": ("float16",),  # what its attention computes in
    None: ("float32",),
}
UNIFORM = Rule("*", "int4", block=32)  # the yardstick of losses, everywhere


def candidates(group: Group, kind: str | None, method: str) -> list[Rule]:
    """The rules that a group may have on a "cpu" or "cuda" device; None: on any.

    method: of the integer blocks.
    """
    if group.is_cache:
        return [Rule(CACHE, name) for name in CACHES[kind]]
    kinds = KERNELS if kind is None else (kind,)
    formats = set.intersection(*(set(KERNELS[name]) for name in kinds))
    rules = TABLES if group.is_table else tuple(r for r in MATRICES if r.format in formats)
    return [rule_of(group, rule, method) for rule in rules]


def rule_of(group: Group, rule: Rule, method: str) -> Rule:
    """The rule, for the tensors of this group."""
    if rule.format not in AFFINE or group.is_table:
        method = rule.method
    return replace(rule, component=group.component, tensor=group.pattern, method=method)


def label(rule: Rule) -> str:
    """A rule in a few characters: "int4/32", "int4/32 zp", "float16"."""
    if rule.component == CACHE:
        return rule.format
    options = rule.to_dict()
    text = rule.format + (f"/{rule.block}" if "block" in options else "")
    return text if rule.symmetric else f"{text} zp"


def rounds_inputs(rule: Rule) -> bool:
    """Whether products of this format round their inputs to 8 bits."""
    return rule.component not in (*COMPONENT_TABLES, CACHE) and rule.format in (*AFFINE, "w8a8")


def input_block(rule: Rule) -> int | None:
    """How many inputs share a scale then: as many as weights do; None: all of a row."""
    return rule.block if rule.format in AFFINE else None
