"""bitsandbytes and ggml: NF4, FP4 and LLM.int8, Q4_0 and the K-quants, each by its own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from flowvox.eval.methods import llama_cpp
from flowvox.eval.methods.method import Encoded, Floats, Method
from flowvox.quantizers.allocation.sensitivity import rounded
from flowvox.quantizers.bnb import quantize_bnb4
from flowvox.quantizers.folding.preparation import Statistics
from flowvox.quantizers.ggml.formats import FORMATS
from flowvox.quantizers.ggml.rows import dequantize_rows, fits, quantize_rows
from flowvox.quantizers.statistics import InputStatistics
from flowvox.source import ModelSource

OUTLIER = 6.0  # LLM.int8's threshold, as its paper and its library have it
BNB_BLOCK = 64
NARROWER = {"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}  # where rows are no multiple of 256
One = Callable[[Floats, InputStatistics], Encoded]


def bitsandbytes_methods() -> list[Method]:
    """By bitsandbytes itself, on the processor."""
    return [
        Method("NF4", "bitsandbytes", _each(partial(_bnb4, "nf4")), notes="float32 activations"),
        Method("FP4", "bitsandbytes", _each(partial(_bnb4, "fp4")), notes="float32 activations"),
        Method("LLM.int8", "bitsandbytes", _each(_llm_int8), notes="outlier inputs stay 16-bit"),
    ]


def ggml_methods() -> list[Method]:
    """Block formats of GGUF files by llama.cpp, where its library is, and by flowvox."""
    formats = ("q4_0", "q4_k", "q5_k", "q6_k", "q8_0")
    found = []
    if llama_cpp.library() is not None:
        found += [Method(name.upper(), "llama.cpp", _each(partial(_ggml, name, True, False)))
                  for name in formats]  # fmt: skip
    found += [Method(f"{name} search", "flowvox", _each(partial(_ggml, name, False, False)))
              for name in formats[1:4]]  # fmt: skip
    found.append(Method("q4_k imatrix", "flowvox", _each(partial(_ggml, "q4_k", False, True))))
    return found


def _each(
    one: One,
) -> Callable[[Sequence[str], ModelSource, Statistics], Mapping[str, Encoded]]:
    def encode(
        names: Sequence[str], source: ModelSource, statistics: Statistics
    ) -> Mapping[str, Encoded]:
        return {name: one(source.read(name), statistics(name)) for name in names}

    return encode


def _bnb4(kind: str, weights: Floats, known: InputStatistics) -> Encoded:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    packed = quantize_bnb4(weights, kind, BNB_BLOCK)
    data, state = quantize_4bit(torch.from_numpy(weights), blocksize=BNB_BLOCK, quant_type=kind)
    values = dequantize_4bit(data, state).numpy()
    return Encoded(values, 8 * (packed.packed.nbytes + packed.absmax.nbytes) / weights.size)


def _llm_int8(weights: Floats, known: InputStatistics) -> Encoded:
    from bitsandbytes.functional import int8_vectorwise_quant

    levels, scales, _ = int8_vectorwise_quant(torch.from_numpy(weights).half())
    values = levels.float() * scales[:, None] / 127
    return Encoded(values.numpy(), 8 + 32 / weights.shape[1], mixed_precision)


def mixed_precision(x: Tensor) -> Tensor:
    """Inputs [..., columns] of a product in LLM.int8: 8 bits a row, columns with outliers in half."""
    from bitsandbytes.functional import int8_vectorwise_quant

    flat = x.flatten(0, -2).half()
    levels, scales, outliers = int8_vectorwise_quant(flat.clone(), threshold=OUTLIER)
    found = levels.float() * scales[:, None] / 127
    if outliers is not None:
        found[:, outliers] = flat[:, outliers].float()
    return found.reshape(x.shape)


def _ggml(
    name: str, theirs: bool, weighted: bool, weights: Floats, known: InputStatistics
) -> Encoded:
    form = name if fits(name, weights.shape[1]) else NARROWER[name]
    importance = np.ascontiguousarray(known.importance()) if weighted else None
    quantize = llama_cpp.quantize if theirs else quantize_rows
    data = quantize(form, weights, importance)
    # ggml's kernels round activations to 8 bits in blocks as wide as those of the weights.
    inputs = partial(rounded, block=FORMATS[form].weights)
    return Encoded(dequantize_rows(form, data), 8 * data.size / weights.size, inputs)
