"""Which tensor of the file gets which block format: the recipe, and what rows cannot hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flowvox.config import ModelConfig
from flowvox.exporters.gguf.names import Entry, entries
from flowvox.quantizers.encode import check_calibrated
from flowvox.quantizers.ggml.rows import fits, row_size
from flowvox.recipe import GGUF_FORMATS, METHODS, OMITTABLE, PLAIN_FORMATS, Recipe
from flowvox.tensors import Shape, component_of

# Where rows are no multiple of 256: the format of 32-wide blocks next above, as llama.cpp chooses.
NARROWER = {"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}


@dataclass(frozen=True)
class Planned:
    """An entry and the name of its block format; weighted: whether its inputs' importance counts."""

    entry: Entry
    component: str
    form: str
    weighted: bool = False

    @property
    def size(self) -> int:
        """Bytes in the file, padding aside."""
        return math.prod(self.entry.shape[:-1]) * row_size(self.form, self.entry.shape[-1])


def plan(config: ModelConfig, recipe: Recipe, *, encoder: bool) -> list[Planned]:
    """All weights of a file, in its order. Raises RecipeError."""
    recipe.check_formats((*PLAIN_FORMATS, *GGUF_FORMATS), "a GGUF file", "a bundle with -f onnx")
    planned = []
    for entry in entries(config, encoder=encoder and not recipe.omits(OMITTABLE)):
        component = component_of(entry.tensor)
        assert component is not None
        rule = recipe.rule(component, entry.tensor)
        form = stored_format(entry, rule.format)
        if rule.calibrated and len(entry.shape) == 2:
            check_calibrated(recipe, component, rule)
        planned.append(Planned(entry, component, form, rule.calibrated and form in METHODS))
    return planned


def stored_format(entry: Entry, asked: str) -> str:
    """Vectors and centroids stay float32; what has no whole blocks in its rows takes the next format.

    From 256-wide blocks to 32-wide ones of no fewer bits, from those to float16.
    """
    if len(entry.shape) == 1 or (entry.beside and not entry.is_convolution):
        return "float32"
    return _fitting(asked, entry.shape)


def _fitting(asked: str, shape: Shape) -> str:
    if fits(asked, shape[-1]):
        return asked
    narrower = NARROWER.get(asked, asked)
    return narrower if fits(narrower, shape[-1]) else "float16"
