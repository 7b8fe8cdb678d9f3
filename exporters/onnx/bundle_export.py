"""Checkpoint + recipe -> bundle. The whole pipeline reads in `export_bundle`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
from flowvox.exporters.onnx.parts import Parts, conversion_key, is_unfinished
from flowvox.exporters.onnx.placement import ComponentWeights
from flowvox.exporters.onnx.tables import write_table, write_voices
from flowvox.exporters.onnx.tally import Progress, Tally, silent
from flowvox.graphs import BACKBONE, CODEC_DECODER, CODEC_ENCODER, FLOW, GraphSpec, graph_specs
from flowvox.manifest import MANIFEST
from flowvox.quantizers.calibration.cache import calibrate
from flowvox.quantizers.encode import check_recipe, rounded
from flowvox.quantizers.folding.preparation import prepare
from flowvox.quantizers.folding.rotation import rotated, statistics_key
from flowvox.recipe import COMPONENTS, TABLES, Recipe
from flowvox.source import ModelSource, Report
from flowvox.tensors import component_of

BUILDERS: dict[str, Callable[[GraphBuilder, ModelConfig], None]] = {
    BACKBONE: build_backbone,
    FLOW: build_flow,
    CODEC_DECODER: build_codec_decoder,
    CODEC_ENCODER: build_codec_encoder,
}


def export_bundle(
    source: ModelSource,
    recipe: Recipe,
    out: Path,
    record: Callable[[ModelSource, Report], dict[str, Recording]],
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write the bundle `out`, check every graph, return the manifest.

    record: runs the reference of a source and returns its activations per graph. progress: a bar for
    each stage, in bytes. Memory holds one tensor at a time, and what checking a slice of a graph takes.
    Raises FlowvoxError, and then leaves nothing behind; only calibration, where a recipe asks for it,
    stays in the user's cache. When interrupted it keeps the components that were finished, out of
    sight, and the next conversion of the same checkpoint to `out` goes on from them.
    """
    config = source.config
    check_recipe(recipe, source.shapes)
    check_target(out, overwrite=overwrite)
    source = rotated(source, recipe)
    encoder = source.has_encoder and not recipe.omits(CODEC_ENCODER)
    specs = graph_specs(config, encoder=encoder, cache=recipe.kv_cache)
    with progress("reading") as report:
        source_hash = source.source_hash(report)
    preparation = None
    if recipe.calibrated:
        with progress("calibrating") as report:
            statistics = calibrate(source, statistics_key(source_hash, recipe), report)
        preparation = prepare(source, config, recipe, statistics, rounded)
    key = conversion_key(source_hash, recipe)
    unfinished = partial(is_unfinished, key=key)
    with (
        write_bundle(out, overwrite=overwrite, resumable=unfinished) as (folder, manifest),
        Parts(folder, key) as parts,
    ):
        recordings = {}
        if not all(name in parts for name in specs):
            with progress("reference") as report:
                recordings = parts.recordings(partial(record, source, report))
        checks, tables = {}, {}
        with progress("converting") as report:
            tally = Tally(source, [*specs, *TABLES], report)
            for name, spec in specs.items():
                weights = ComponentWeights(source, recipe, name, tally.read, preparation)
                make = partial(_graph, spec, folder, weights, config, recipe, recordings)
                checks[name] = parts.make(name, make)
                tally.finished(name)
            for name, tensor in TABLES.items():
                rule = recipe.rule(name, tensor)
                make = partial(write_table, source, tensor, folder, name, rule)
                tables[name] = parts.make(name, make)
                tally.finished(name)
        voices = write_voices(source, folder)
        (folder / "tekken.json").write_bytes(source.tokenizer_json())
        components = _components(source, folder)
        merged = {"adapters": source.adapters} if source.adapters else {}
        card = model_card(source.licence, recipe, components, source.adapters)
        (folder / "README.md").write_text(card, encoding="utf-8")
        manifest |= {
            "flowvox": __version__,
            "model": {"params": dict(config.raw), "source_sha256": source_hash} | merged,
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


def _graph(
    spec: GraphSpec,
    folder: Path,
    weights: ComponentWeights,
    config: ModelConfig,
    recipe: Recipe,
    recordings: dict[str, Recording],
) -> dict[str, Any]:
    """Write one graph and return what its check says."""
    half = recipe.compute == "float16" and spec.name in (BACKBONE, FLOW)
    with GraphBuilder(spec, folder, weights, half=half) as graph:
        build = BUILDERS[spec.name]
        if spec.name == BACKBONE and recipe.kv_cache == "int8":
            build = partial(build_backbone, largest=recordings[BACKBONE].largest)
        build(graph, config)
        graph.save()
    if graph.dynamic:
        quantize_dynamic(folder, spec.name, graph.dynamic)
    return check_graph(folder, spec, recordings[spec.name], recipe)


def check_target(out: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless `out` is free, or a bundle that may be overwritten.

    Any other folder is left alone whatever was asked for: it may be the checkpoint itself.
    """
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: exists already; choose another name or pass --overwrite")
    if out.exists() and not (out / MANIFEST).is_file():
        raise OutputError(f"{out}: is not a bundle, so it is not overwritten; choose another name")


def _components(source: ModelSource, folder: Path) -> dict[str, dict[str, Any]]:
    """Parameters, bytes on disk and bits per weight of each graph and table."""
    components = {}
    for name in COMPONENTS:
        size = sum(file.stat().st_size for file in folder.glob(f"{name}.*"))
        shapes = (shape for tensor, shape in source.shapes.items() if component_of(tensor) == name)
        parameters = sum(math.prod(shape) for shape in shapes)
        if size:
            bits = round(8 * size / parameters, 3)
            components[name] = {"parameters": parameters, "bytes": size, "bits_per_weight": bits}
    return components
