"""Checkpoint + recipe -> GGUF file. One tensor in memory at a time; the same input, the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

from flowvox import __version__
from flowvox.errors import CheckpointError
from flowvox.exporters.gguf.metadata import ARCHITECTURE, VOICE_NAMES, model_metadata
from flowvox.exporters.gguf.names import LONGEST_NAME, VOCABULARY, VOICE, Entry
from flowvox.exporters.gguf.output import beside, check_target
from flowvox.exporters.gguf.plan import Planned, plan
from flowvox.exporters.gguf.vocabulary import tokenizer_metadata, vocabulary_values
from flowvox.exporters.onnx.card import NOTICES
from flowvox.graphs import BACKBONE
from flowvox.quantizers.ggml.formats import FORMATS, Bytes, Floats
from flowvox.quantizers.ggml.rows import quantize_rows, row_size
from flowvox.recipe import Recipe
from flowvox.source import ModelSource
from flowvox.tensors import Shape, fold_weight_norm

QUANTIZATION_VERSION = 2  # of ggml's block layouts
# llama.cpp's number for "mostly this type".
FILE_TYPES = {
    "float32": 0, "float16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q4_k": 14,
    "q5_k": 16, "q6_k": 18, "bfloat16": 32,
}  # fmt: skip
AUTHORS = {"cc-by-nc-4.0": "Mistral AI"}  # whom a licence asks to credit
WEIGHTS_AT_ONCE = 1 << 22  # that are read from the source
HEADER_ROOM = 1 << 20
Report = Callable[[int, int], None]


def export_gguf(
    source: ModelSource,
    recipe: Recipe,
    out: Path,
    *,
    overwrite: bool = False,
    report: Report = lambda done, total: None,
) -> dict[str, dict[str, Any]]:
    """Write `out` and return parameters, bytes and bits per weight of each component.

    `report` is told bytes done and in all. Raises FlowvoxError; then, or when interrupted, nothing is
    left behind.
    """
    planned = plan(source.config, recipe, encoder=source.has_encoder)
    voices = _voices(source)
    source.tokenizer()  # refuses what is none
    document = json.loads(source.tokenizer_json())
    vocabulary = vocabulary_values(document)
    total = sum(tensor.size for tensor in planned)
    beyond = sum(rows.nbytes for rows in (*voices.values(), vocabulary)) + HEADER_ROOM
    check_target(out, total + beyond, overwrite=overwrite)
    with beside(out) as temporary:
        writer = GGUFWriter(temporary, ARCHITECTURE)
        try:
            _add_metadata(writer, _general(source, recipe, planned))
            _add_metadata(writer, model_metadata(source.config))
            _add_metadata(writer, {VOICE_NAMES: ("strings", list(voices))})
            _add_metadata(writer, tokenizer_metadata(document))
            for tensor in planned:
                _announce(writer, tensor.entry.name, tensor.entry.shape, tensor.form)
            for name, rows in voices.items():
                _announce(writer, VOICE + name, rows.shape, "float32")
            _announce(writer, VOCABULARY, vocabulary.shape, "float32")
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            done = 0
            for tensor in planned:
                writer.write_tensor_data(encoded(source, tensor.entry, tensor.form))
                done += tensor.size
                report(done, total)
            for rows in (*voices.values(), vocabulary):
                writer.write_tensor_data(rows)
        finally:
            writer.close()
    return _components(planned)


def encoded(source: ModelSource, entry: Entry, form: str) -> Bytes:
    """Bytes of one tensor, taken over as they are where the source has that format already."""
    if source.block_format(entry.tensor) == form:
        return source.packed(entry.tensor)
    if entry.beside is None and len(entry.shape) == 2:
        return _encoded_matrix(source, entry, form)
    values = source.read(entry.tensor)
    if entry.is_convolution:
        assert entry.beside
        values = fold_weight_norm(source.read(entry.beside), values)
    elif entry.beside:
        values /= np.maximum(source.read(entry.beside), np.float32(1e-5))[:, None]
    return quantize_rows(form, values.reshape(-1, entry.shape[-1]))


def _encoded_matrix(source: ModelSource, entry: Entry, form: str) -> Bytes:
    rows, columns = entry.shape
    data = np.empty((rows, row_size(form, columns)), dtype=np.uint8)
    step = max(1, WEIGHTS_AT_ONCE // columns)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        data[start:stop] = quantize_rows(form, source.read_rows(entry.tensor, start, stop))
    return data


def _voices(source: ModelSource) -> dict[str, Floats]:
    """All rows, in the order of params.json; they are few."""
    known = source.config.voices
    names = sorted(source.voices(), key=lambda name: (name not in known, name))
    names = [*(name for name in known if name in names), *(n for n in names if n not in known)]
    for name in names:
        if len((VOICE + name).encode()) > LONGEST_NAME:
            raise CheckpointError(f"the voice name {name} is too long for GGUF; rename its file")
    return {name: source.voice(name) for name in names}


def _general(
    source: ModelSource, recipe: Recipe, planned: list[Planned]
) -> dict[str, tuple[str, Any]]:
    sizes: dict[str, int] = {}
    for tensor in planned:
        if tensor.component == BACKBONE:
            sizes[tensor.form] = sizes.get(tensor.form, 0) + tensor.size
    most = max(sizes, key=lambda form: sizes[form])
    licence = source.licence
    keys: dict[str, tuple[str, Any]] = {
        "general.type": ("string", "model"),
        "general.name": ("string", source.path.resolve().name.removesuffix(".gguf")),
        "general.description": (
            "string",
            f"{recipe.description} {NOTICES.get(licence, '')}".strip(),
        ),
        "general.license": ("string", licence),
        "general.tags": ("strings", ["text-to-speech"]),
        "general.quantized_by": ("string", f"flowvox {__version__}"),
        "general.quantization_version": ("u32", QUANTIZATION_VERSION),
        "general.file_type": ("u32", FILE_TYPES[most]),
        "flowvox.recipe": ("string", recipe.name),
        "flowvox.rules": ("string", json.dumps(recipe.to_dict(), sort_keys=True)),
        "flowvox.source_sha256": ("string", source.source_hash()),
    }
    if licence in AUTHORS:
        keys["general.author"] = ("string", AUTHORS[licence])
    return keys


def _add_metadata(writer: GGUFWriter, keys: dict[str, tuple[str, Any]]) -> None:
    add = {
        "u32": writer.add_uint32,
        "f32": writer.add_float32,
        "bool": writer.add_bool,
        "string": writer.add_string,
        "strings": writer.add_array,
    }
    for key, (kind, value) in keys.items():
        add[kind](key, value)


def _announce(writer: GGUFWriter, name: str, shape: Shape, form: str) -> None:
    kind = FORMATS[form]
    blocks, rest = divmod(int(np.prod(shape)), kind.weights)
    assert rest == 0
    writer.add_tensor_info(
        name,
        shape,
        np.dtype(np.float32),  # any but uint8: the shape counts weights, not bytes
        blocks * kind.size,
        raw_dtype=GGMLQuantizationType(kind.type_id),
    )


def _components(planned: list[Planned]) -> dict[str, dict[str, Any]]:
    components: dict[str, dict[str, Any]] = {}
    for tensor in planned:
        entry = components.setdefault(tensor.component, {"parameters": 0, "bytes": 0})
        entry["parameters"] += int(np.prod(tensor.entry.shape))
        entry["bytes"] += tensor.size
    for entry in components.values():
        entry["bits_per_weight"] = round(8 * entry["bytes"] / entry["parameters"], 3)
    return components
