"""Which storage format is the quickest for backbone or flow head on this machine, without a checkpoint.

Graphs of the shape with made-up weights, as the exporter writes and the runtime runs them: the flow
head at its rows (three tokens, two guidance branches, all evaluations of a frame), the backbone at one.
Each format is timed in turns with int4, and what counts is the ratio of the quickest runs: no two
others are in memory at once, the machine's drift hits both alike, and neighbours only add time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from flowvox.config import DEFAULT_GUIDANCE, DEFAULT_STEPS, ModelConfig
from flowvox.eval.bench import machine
from flowvox.eval.probe import read_bandwidth
from flowvox.exporters.onnx.backbone import build_backbone
from flowvox.exporters.onnx.flow import build_flow
from flowvox.exporters.onnx.synthetic import write_synthetic
from flowvox.graphs import BACKBONE, FLOW, graph_specs
from flowvox.machine import cores
from flowvox.recipe import Recipe, Rule, load_recipe, shipped_recipes
from flowvox.runtime.backbone import BackboneRunner
from flowvox.runtime.binding import Rows
from flowvox.runtime.flow_head import FlowRunner
from flowvox.runtime.sessions import load_graph, session_options
from flowvox.schedule import flow_schedule
from flowvox.tensors import FLOW as FLOW_PREFIX

MEASURED_LAYERS = 3  # of the backbone: each is like the other, and float16 is widened in memory
PROMPT = 200  # positions before the measured ones
ROUNDS, SECONDS = 20, 12.0  # pairs of runs of two formats: so many, or as many as this takes
WARM_UP = 2
BASE = "int4"
# Formats of the layers, and of the flow head's semantic head and its projections of h and time; weights
# a block.
CANDIDATES = {
    "int4": ("int4", "float16", 32),
    "int4, blocks of 64": ("int4", "float16", 64),
    "int4, blocks of 128": ("int4", "float16", 128),
    "int8": ("int8", "float16", 32),
    "w8a8": ("w8a8", "float16", 32),
    "w8a8, heads too": ("w8a8", "w8a8", 32),
    "float16": ("float16", "float16", 32),
}
BLOCKED = {"int4", "int8"}
LAYER = "layers.0.feed_forward.w1.weight"
HEADS = ("semantic_codebook_output", "llm_projection", "time_projection")
BUILD = {BACKBONE: build_backbone, FLOW: build_flow}
Report = Callable[[int, int], None]


@dataclass
class Candidate:
    """A graph in one format, ready to run. frame: computes one frame; size: bytes on disk."""

    frame: Callable[[], object]
    size: int


def bench_component(
    component: str,
    config: ModelConfig,
    *,
    threads: int | None = None,
    report: Report = lambda done, total: None,
) -> dict[str, Any]:
    """Milliseconds a frame of "flow" or "backbone" in each of CANDIDATES, quickest first.

    The first row is the winner; `recipes` are the shipped ones that store the component so. Formats
    of few bits win where memory is slow, those of quick arithmetic where it is not: the measured
    bandwidth is told, too.
    """
    threads = threads or cores()
    bandwidth = read_bandwidth(threads)
    measured = _measured(component, config)
    layers, of = _layers(component, measured), _layers(component, config)
    base: list[float] = []
    rows: list[dict[str, Any]] = []
    candidates = _candidates(component)
    others = [name for name in candidates if name != BASE]
    for done, name in enumerate(others):
        report(done, len(others))
        with TemporaryDirectory(prefix="flowvox-bench-") as folder:
            pair = [
                load_candidate(Path(folder) / key, component, measured, recipe, threads)
                for key, recipe in ((BASE, candidates[BASE]), ("other", candidates[name]))
            ]
            first, second = interleave([candidate.frame for candidate in pair])
        base += first
        if not rows:
            rows.append({"format": BASE, "ratio": 1.0, "bytes": pair[0].size})
        rows.append({"format": name, "ratio": min(second) / min(first), "bytes": pair[1].size})
        del pair
    report(len(others), len(others))
    frame = 1e3 * min(base) * of / layers
    best = min(row["ratio"] for row in rows)
    rows = [
        {
            "format": row["format"],
            "ms_per_frame": round(row["ratio"] * frame, 3),
            "relative": round(row["ratio"] / best, 3),
            "bytes": round(row["bytes"] * of / layers),
            "recipes": recipes_like(candidates[row["format"]], component),
        }
        for row in sorted(rows, key=lambda row: row["ratio"])
    ]
    return {
        "component": component,
        "layers": {"measured": layers, "of": of},
        "evaluations": DEFAULT_STEPS if component == FLOW else 1,
        "candidates": rows,
        "winner": rows[0]["format"],
        "machine": machine(threads) | {"read_gb_per_s": round(bandwidth, 1)},
    }


def recipe_of(layers: str, heads: str, block: int = 32) -> Recipe:
    """Backbone and flow layers in one format, the flow head's other matrices in another."""

    def rule(fmt: str) -> dict[str, object]:
        return {"format": fmt, "block": block} if fmt in BLOCKED else {"format": fmt}

    rules = [
        {"component": "backbone"} | rule(layers),
        {"component": FLOW, "tensor": "*.layers.*"} | rule(layers),
        *({"component": FLOW, "tensor": f"*.{name}.weight"} | rule(heads) for name in HEADS),
        {"component": "*", "format": "float16"},
    ]
    return Recipe.from_dict({"version": 1, "name": "bench", "rules": rules}, "bench")


def recipes_like(recipe: Recipe, component: str) -> list[str]:
    """The shipped recipes that store the large matrices of the component as `recipe` does."""
    flow = [LAYER, *(f"{name}.weight" for name in HEADS)]
    tensors = [FLOW_PREFIX + name for name in flow] if component == FLOW else [LAYER]
    shipped = [load_recipe(name) for name in shipped_recipes()]
    return [
        other.name
        for other in shipped
        if all(
            _stored(other.rule(component, name)) == _stored(recipe.rule(component, name))
            for name in tensors
        )
    ]


def _stored(rule: Rule) -> tuple[str, int | None]:
    """What decides on the kernel and on the bytes that it reads."""
    return rule.format, rule.block if rule.format in BLOCKED else None


def _candidates(component: str) -> dict[str, Recipe]:
    """The recipes to time; heads are the flow head's alone."""
    return {
        name: recipe_of(layers, heads, block)
        for name, (layers, heads, block) in CANDIDATES.items()
        if component == FLOW or heads == "float16"
    }


def load_candidate(
    folder: Path,
    component: str,
    config: ModelConfig,
    recipe: Recipe,
    threads: int,
    build: Callable[..., None] | None = None,
) -> Candidate:
    """Write the graph into a new folder, open it as the runtime does, and prepare its inputs."""
    folder.mkdir()
    file = write_synthetic(folder, component, config, recipe, build or BUILD[component])
    spec = graph_specs(config, encoder=False)[component]
    session = load_graph(file, spec, session_options(threads), ["CPUExecutionProvider"])
    size = sum(path.stat().st_size for path in folder.iterdir())
    frame = _flow_frame(session, config) if component == FLOW else _position(session, config)
    return Candidate(frame, size)


def interleave(
    frames: list[Callable[[], object]],
    clock: Callable[[], float] = time.perf_counter,
    patience: int = 1,
) -> list[list[float]]:
    """Seconds of each, run in turns; runs of a round stand at the same place of each list.

    patience: how many times ROUNDS, or SECONDS of wall time.
    """
    rounds, seconds = patience * ROUNDS, patience * SECONDS
    for frame in frames:
        for _ in range(WARM_UP):
            frame()
    times: list[list[float]] = [[] for _ in frames]
    started = time.perf_counter()
    while len(times[0]) < 3 or (len(times[0]) < rounds and time.perf_counter() - started < seconds):
        for frame, found in zip(frames, times, strict=True):
            before = clock()
            frame()
            found.append(clock() - before)
    return times


def _flow_frame(session: Any, config: ModelConfig) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    runner = FlowRunner(session)
    hidden = rng.standard_normal((1, config.flow.input_dim), dtype=np.float32)
    noise = rng.standard_normal((1, config.codec.acoustic_dim), dtype=np.float32)
    rows = Rows.of(runner.memory.put(hidden))
    schedule = flow_schedule("euler", DEFAULT_STEPS, DEFAULT_GUIDANCE)
    return lambda: runner(rows, noise, schedule)


def _position(session: Any, config: ModelConfig) -> Callable[[], object]:
    """The next position after a prompt; there is room for those of all rounds."""
    rng = np.random.default_rng(0)
    positions = PROMPT + WARM_UP + ROUNDS
    runner = BackboneRunner(session, config, positions)
    x = rng.standard_normal((PROMPT, config.backbone.dim), dtype=np.float32)
    runner(x)
    return lambda: runner(x[:1])


def _measured(component: str, config: ModelConfig) -> ModelConfig:
    """The shape with as many layers as are measured."""
    if component == FLOW:
        return config
    layers = min(MEASURED_LAYERS, config.backbone.n_layers)
    return replace(config, backbone=replace(config.backbone, n_layers=layers))


def _layers(component: str, config: ModelConfig) -> int:
    return config.flow.n_layers if component == FLOW else config.backbone.n_layers
