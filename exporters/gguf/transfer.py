"""What converting a model that is stored in blocks costs: nothing where blocks are taken over.

A GGUF file is lossy already; storing its weights anew adds an error of its own. It is measured on the
first rows of every matrix, as the conversion will store them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowvox.exporters.gguf.names import entries
from flowvox.exporters.gguf.plan import stored_format as file_format
from flowvox.quantizers.encode import encode_matrix
from flowvox.quantizers.ggml.formats import Floats
from flowvox.quantizers.ggml.repack import repacks
from flowvox.quantizers.ggml.rows import dequantize_rows, quantize_rows
from flowvox.quantizers.matrix import quantize_rows as quantize_table
from flowvox.quantizers.weights import BlockWeights, FloatWeights
from flowvox.recipe import TABLES, Recipe, Rule
from flowvox.source import ModelSource
from flowvox.tensors import component_of

ROWS = 32


def transfer(source: ModelSource, recipe: Recipe, kind: str) -> dict[str, Any]:
    """{"kept": matrices taken over, "converted": {"q4_k to int4": {"matrices", "relative_error"}}}.

    kind: "onnx" or "gguf". relative_error: root of the mean square, relative to that of the weights,
    the largest of all matrices. Formats that cannot be read back here have None.
    """
    kept = 0
    converted: dict[str, Any] = {}
    for entry in entries(source.config, encoder=source.has_encoder):
        form, component = source.block_format(entry.tensor), component_of(entry.tensor)
        if form is None or component is None:
            continue
        rule = recipe.rule(component, entry.tensor)
        if rule.format == "omit":
            continue
        target = file_format(entry, rule.format) if kind == "gguf" else rule.format
        same = target == form if kind == "gguf" else repacks(form, rule)
        if same and not (kind == "onnx" and component in TABLES):
            kept += 1
            continue
        weights = source.read_rows(entry.tensor, 0, min(ROWS, entry.shape[0]))
        error = _error(weights, _stored_anew(weights, rule, target, kind, component))
        group = converted.setdefault(
            f"{form} to {target}", {"matrices": 0, "relative_error": error}
        )
        group["matrices"] += 1
        if error is not None and group["relative_error"] is not None:
            group["relative_error"] = max(error, group["relative_error"])
    return {"kept": kept, "converted": converted}


def _stored_anew(
    weights: Floats, rule: Rule, target: str, kind: str, component: str
) -> Floats | None:
    """The weights as they are read back after the conversion."""
    if kind == "gguf":
        return dequantize_rows(target, quantize_rows(target, weights))
    if component in TABLES and target == "int8":
        levels, scales = quantize_table(weights)
        return levels * scales[:, None]
    if rule.calibrated:
        return None
    encoded = encode_matrix(weights, rule)
    return encoded.dequantized() if isinstance(encoded, BlockWeights | FloatWeights) else None


def _error(weights: Floats, again: Floats | None) -> float | None:
    power = float(np.square(weights, dtype=np.float64).sum())
    if again is None:
        return None
    if power == 0:
        return 0.0
    difference = again.astype(np.float64) - weights
    return float(np.sqrt(np.square(difference).sum() / power))
