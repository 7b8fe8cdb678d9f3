"""Checkpoint + recipe -> GGUF file. One tensor in memory at a time; the same input, the same bytes."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from flowvox import __version__
from flowvox.adapter import described
from flowvox.errors import CheckpointError
from flowvox.exporters.gguf.encode import encoded
from flowvox.exporters.gguf.file_writer import Metadata, Report, Weight, write_file
from flowvox.exporters.gguf.metadata import ADAPTERS, ARCHITECTURE, VOICE_NAMES, model_metadata
from flowvox.exporters.gguf.names import LONGEST_NAME, VOCABULARY, VOICE
from flowvox.exporters.gguf.plan import Planned, plan
from flowvox.exporters.gguf.vocabulary import tokenizer_metadata, vocabulary_values
from flowvox.exporters.onnx.card import NOTICES
from flowvox.graphs import BACKBONE
from flowvox.quantizers.folding.preparation import Statistics
from flowvox.quantizers.folding.rotation import rotated
from flowvox.quantizers.ggml.formats import Floats
from flowvox.recipe import Recipe
from flowvox.source import ModelSource

QUANTIZATION_VERSION = 2  # of ggml's block layouts
# llama.cpp's number for "mostly this type".
FILE_TYPES = {
    "float32": 0, "float16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q4_k": 14,
    "q5_k": 16, "q6_k": 18, "bfloat16": 32,
}  # fmt: skip
AUTHORS = {"cc-by-nc-4.0": "Mistral AI"}  # whom a licence asks to credit
Components = dict[str, dict[str, Any]]


def export_gguf(
    source: ModelSource,
    recipe: Recipe,
    out: Path,
    *,
    overwrite: bool = False,
    report: Report = lambda done, total: None,
    statistics: Statistics | None = None,
) -> Components:
    """Write `out` and return parameters, bytes and bits per weight of each component.

    `report` is told bytes done and in all. statistics: of calibration, where the recipe wants it, of
    the model as the recipe turns it.
    Raises FlowvoxError; then, or when interrupted, nothing is left behind.
    """
    planned = plan(source.config, recipe, encoder=source.has_encoder)
    source = rotated(source, recipe)
    source.tokenizer()  # refuses what is none
    document = json.loads(source.tokenizer_json())
    voices = _voices(source)
    metadata = general_metadata(source, recipe, planned) | model_metadata(source.config)
    metadata[VOICE_NAMES] = ("strings", list(voices))
    metadata |= tokenizer_metadata(document)
    vocabulary = vocabulary_values(document)
    weights = [
        *model_weights(source, planned, statistics),
        *(Weight(VOICE + name, rows.shape, "float32", rows.copy) for name, rows in voices.items()),
        Weight(VOCABULARY, vocabulary.shape, "float32", vocabulary.copy),
    ]
    write_file(out, ARCHITECTURE, metadata, weights, overwrite=overwrite, report=report)
    return components(planned)


def general_metadata(source: ModelSource, recipe: Recipe, planned: list[Planned]) -> Metadata:
    """What any GGUF file says of itself, and where ours came from."""
    sizes: dict[str, int] = {}
    for tensor in planned:
        if tensor.component == BACKBONE:
            sizes[tensor.form] = sizes.get(tensor.form, 0) + tensor.size
    most = max(sizes, key=lambda form: sizes[form])
    licence = source.licence
    description = f"{recipe.description} {NOTICES.get(licence, '')}".strip()
    keys: Metadata = {
        "general.type": ("string", "model"),
        "general.name": ("string", source.path.resolve().name.removesuffix(".gguf")),
        "general.description": ("string", description),
        "general.license": ("string", licence),
        "general.tags": ("strings", ["text-to-speech"]),
        "general.quantized_by": ("string", f"flowvox {__version__}"),
        "general.quantization_version": ("u32", QUANTIZATION_VERSION),
        "general.file_type": ("u32", FILE_TYPES[most]),
        "flowvox.recipe": ("string", recipe.name),
        "flowvox.rules": ("string", json.dumps(recipe.to_dict(), sort_keys=True)),
        "flowvox.source_sha256": ("string", source.source_hash()),
    }
    if source.adapters:
        keys[ADAPTERS] = ("string", json.dumps(source.adapters))
        merged = " ".join([description, *described(source.adapters)])
        keys["general.description"] = ("string", merged)
    if licence in AUTHORS:
        keys["general.author"] = ("string", AUTHORS[licence])
    return keys


def model_weights(
    source: ModelSource, planned: list[Planned], statistics: Statistics | None = None
) -> list[Weight]:
    """The planned tensors, each encoded when it is written."""
    return [
        Weight(
            tensor.entry.name,
            tensor.entry.shape,
            tensor.form,
            partial(
                encoded,
                source,
                tensor.entry,
                tensor.form,
                statistics if tensor.weighted else None,
            ),
        )
        for tensor in planned
    ]


def components(planned: list[Planned]) -> Components:
    """Parameters, bytes and bits per weight."""
    found: Components = {}
    for tensor in planned:
        entry = found.setdefault(tensor.component, {"parameters": 0, "bytes": 0})
        entry["parameters"] += math.prod(tensor.entry.shape)
        entry["bytes"] += tensor.size
    for entry in found.values():
        entry["bits_per_weight"] = round(8 * entry["bytes"] / entry["parameters"], 3)
    return found


def _voices(source: ModelSource) -> dict[str, Floats]:
    """All rows, in the order of params.json; they are few."""
    known = {name: number for number, name in enumerate(source.config.voices)}
    names = sorted(source.voices(), key=lambda name: (known.get(name, len(known)), name))
    for name in names:
        if len((VOICE + name).encode()) > LONGEST_NAME:
            raise CheckpointError(f"the voice name {name} is too long for GGUF; rename its file")
    return {name: source.voice(name) for name in names}
