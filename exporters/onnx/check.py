"""The last step of an export: each graph against the reference on real activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import FlowvoxError
from flowvox.exporters.onnx.slices import SlicedGraph
from flowvox.graphs import BACKBONE, GraphSpec
from flowvox.recipe import Recipe

# Largest relative error sqrt(mean (a-b)^2 / mean b^2) per storage format. They catch a wrong graph,
# not a weak recipe: judging recipes is the business of the eval harness.
TOLERANCES = {
    "float32": 1e-4,
    "float16": 1e-2,
    "int8": 0.1,
    "w8": 0.1,
    "w8a8": 0.1,
    "int8-dynamic": 0.4,
    "nf4": 0.7,
    "fp4": 0.7,
    "int4": 0.7,
    "int2": 2.0,
}


@dataclass(frozen=True)
class Recording:
    """Inputs of a graph and what the reference computes from them, by tensor name.

    largest: of the backbone, see `flowvox.reference.activations.Activations`.
    """

    feeds: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    largest: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def check_graph(
    folder: Path, spec: GraphSpec, recording: Recording, recipe: Recipe
) -> dict[str, Any]:
    """Run the graph, slice by slice, and compare. Raises FlowvoxError outside the tolerance.

    Codes (integers) may differ in 0.1 % of places, where the reference itself is at a tie.
    """
    graph, names = spec.name, list(recording.outputs)
    dtypes = {value.name: value.dtype for value in spec.inputs}
    feeds = {name: array.astype(dtypes[name]) for name, array in recording.feeds.items()}
    (values,) = SlicedGraph(folder, graph).run(names, [feeds])
    rules = [rule for rule in recipe.rules if fnmatchcase(graph, rule.component)]
    formats = {rule.format for rule in rules}
    if graph == BACKBONE:
        formats.add(recipe.kv_cache)
    tolerance = max(TOLERANCES[name] for name in formats & TOLERANCES.keys())
    errors = {}
    for name, expected in recording.outputs.items():
        result = values[name]
        if np.issubdtype(result.dtype, np.integer):
            errors[name] = float((result != expected).mean())
        else:
            difference = np.square(result.astype(np.float64) - expected).mean()
            errors[name] = float(
                np.sqrt(difference / np.square(expected.astype(np.float64)).mean())
            )
    worst = max(errors.values())
    if not worst <= tolerance:  # NaN fails too
        raise FlowvoxError(
            f"the {graph} graph differs from the reference by {worst:.3g} (at most {tolerance:.3g} "
            f"allowed for recipe {recipe.name}); nothing was written, please report this"
        )
    return {"relative_error": errors, "tolerance": tolerance}
