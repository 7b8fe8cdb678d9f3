"""Checkpoint + recipe -> bundle. The whole pipeline reads in `export_bundle`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox import __version__
from flowvox.bundle import write_bundle
from flowvox.config import DEFAULT_GUIDANCE, DEFAULT_STEPS, ModelConfig
from flowvox.errors import OutputError
from flowvox.exporters.onnx.backbone import build_backbone
from flowvox.exporters.onnx.builder import GraphBuilder
from flowvox.exporters.onnx.card import model_card
from flowvox.exporters.onnx.check import Recording, check_graph
from flowvox.exporters.onnx.codec_decoder import build_codec_decoder
from flowvox.exporters.onnx.codec_encoder import build_codec_encoder
from flowvox.exporters.onnx.dynamic import quantize_dynamic
from flowvox.exporters.onnx.flow import build_flow
from flowvox.exporters.onnx.placement import ComponentWeights
from flowvox.graphs import BACKBONE, CODEC_DECODER, CODEC_ENCODER, FLOW, graph_specs
from flowvox.manifest import MANIFEST
from flowvox.quantizers.blocks import quantize_rows
from flowvox.quantizers.encode import check_recipe
from flowvox.recipe import TABLES, Recipe
from flowvox.source import ModelSource
from flowvox.tensors import component_of

BUILDERS: dict[str, Callable[[GraphBuilder, ModelConfig], None]] = {
    BACKBONE: build_backbone,
    FLOW: build_flow,
    CODEC_DECODER: build_codec_decoder,
    CODEC_ENCODER: build_codec_encoder,
}
Report = Callable[[str], None]


def export_bundle(
    source: ModelSource,
    recipe: Recipe,
    out: Path,
    recordings: dict[str, Recording],
    *,
    overwrite: bool = False,
    report: Report = lambda stage: None,
) -> dict[str, Any]:
    """Write the bundle `out`, check every graph, return the manifest.

    recordings: the reference's activations per graph. `report` is told each stage as it begins.
    Raises FlowvoxError; then, or when interrupted, nothing is left behind.
    """
    config = source.config
    check_recipe(recipe, source.shapes)
    check_target(out, overwrite=overwrite)
    encoder = source.has_encoder and not recipe.omits(CODEC_ENCODER)
    specs = graph_specs(config, encoder=encoder)
    with write_bundle(out, overwrite=overwrite) as (folder, manifest):
        checks = {}
        for name, spec in specs.items():
            report(name)
            weights = ComponentWeights(source, recipe, name)
            with GraphBuilder(spec, folder, weights) as graph:
                BUILDERS[name](graph, config)
                graph.save()
            if graph.dynamic:
                quantize_dynamic(folder, name, graph.dynamic)
            checks[name] = check_graph(folder, name, recordings[name], recipe)
        report("tables and voices")
        tables = {
            name: _write_table(source.read(tensor), folder, name, recipe.rule(name, tensor).format)
            for name, tensor in TABLES.items()
        }
        voices = _write_voices(source, folder)
        (folder / "tekken.json").write_bytes(source.tokenizer_json())
        components = _components(source, folder)
        card = model_card(source.licence, recipe, components)
        (folder / "README.md").write_text(card, encoding="utf-8")
        report("hashes")
        manifest |= {
            "flowvox": __version__,
            "model": {"params": dict(config.raw), "source_sha256": source.source_hash()},
            "recipe": recipe.to_dict(),
            "graphs": {name: spec.to_dict() for name, spec in specs.items()},
            "sampling": {"steps": DEFAULT_STEPS, "solver": "euler", "guidance": DEFAULT_GUIDANCE},
            "tables": tables,
            "voices": voices,
            "license": source.licence,
            "checks": checks,
            "components": components,
        }
    return manifest


def check_target(out: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless `out` is free, or a bundle that may be overwritten.

    Any other folder is left alone whatever was asked for: it may be the checkpoint itself.
    """
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: exists already; choose another name or pass --overwrite")
    if out.exists() and not (out / MANIFEST).is_file():
        raise OutputError(f"{out}: is not a bundle, so it is not overwritten; choose another name")


def _write_table(table: NDArray[np.float32], folder: Path, name: str, fmt: str) -> dict[str, str]:
    entry = {"format": fmt, "file": f"{name}.npy"}
    if fmt == "int8":
        levels, scales = quantize_rows(table)
        entry["scales"] = f"{name}.scales.npy"
        np.save(folder / entry["file"], levels)
        np.save(folder / entry["scales"], scales)
    else:
        np.save(folder / entry["file"], table.astype(fmt))
    return entry


def _write_voices(source: ModelSource, folder: Path) -> dict[str, dict[str, Any]]:
    """Rows stay float32: they are few, and they are the prompt of every utterance."""
    (folder / "voices").mkdir()
    voices = {}
    for name in source.voices():
        rows = source.voice(name)
        np.save(folder / "voices" / f"{name}.npy", rows)
        voices[name] = {"file": f"voices/{name}.npy", "rows": len(rows)}
    return voices


def _components(source: ModelSource, folder: Path) -> dict[str, dict[str, Any]]:
    """Parameters, bytes on disk and bits per weight of each graph and table."""
    components: dict[str, dict[str, Any]] = {}
    written = {file.name.split(".")[0] for file in folder.iterdir()}
    for name, shape in source.shapes.items():
        component = component_of(name)
        if component in written:
            entry = components.setdefault(str(component), {"parameters": 0})
            entry["parameters"] += math.prod(shape)
    for name, entry in components.items():
        size = sum(file.stat().st_size for file in folder.glob(f"{name}.*"))
        entry["bytes"] = size
        entry["bits_per_weight"] = round(8 * size / entry["parameters"], 3)
    return components
