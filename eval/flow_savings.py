"""What each saving of the flow graph gains: `python -m flowvox.eval.flow_savings [SHAPE] [FORMAT]`.

The graph is built as the reference computes (reference/flow.py), then with one saving after the other,
until it is the exporter's own; each is timed in turns with the one before. What counts is processor
time, of all threads: neighbours take the processor away for longer than the smaller savings gain.
Made-up weights; SHAPE is tiny, 4b (if absent) or a file like params.json, FORMAT one of
flowvox.eval.component.CANDIDATES ("w8a8, heads too" if absent). Prints a markdown table.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime as ort

from flowvox.config import ModelConfig
from flowvox.eval.component import CANDIDATES, interleave, load_candidate, recipe_of
from flowvox.exporters.onnx.builder import GraphBuilder
from flowvox.exporters.onnx.flow import (
    PROJECTIONS,
    attention,
    build_flow,
    first_token,
    integrate,
    time_embeddings,
)
from flowvox.exporters.onnx.layers import add_and_norm, rms_norm, swiglu
from flowvox.graphs import FLOW
from flowvox.machine import cores, cpu_name
from flowvox.reference.random_checkpoint import load_shape
from flowvox.tensors import FLOW as PREFIX

SAVINGS = (
    "guidance branches in one batch",
    "the null condition's token is zero",
    "one projection of the hidden state a frame",
    "time tokens before the loop",
    "only the first token in the last layer",
    "first layer from prepared rows",
)
PATIENCE = 3  # the smaller savings are a few percent
Build = Callable[[GraphBuilder, ModelConfig], None]


def naive_flow(savings: int) -> Build:
    """The builder of the flow graph with the first `savings` of SAVINGS; all of them: the shipped."""
    if savings == len(SAVINGS):
        return build_flow
    batched, zero, projected, timed, first = (i < savings for i in range(len(SAVINGS) - 1))

    def build(g: GraphBuilder, config: ModelConfig) -> None:
        g.rename(g.linear("hidden", f"{PREFIX}semantic_codebook_output.weight"), "semantic_logits")
        condition = _project(g, "hidden") if projected else ""
        times = _times(g, config) if timed else ""

        def velocity(body: GraphBuilder, z: str, column: Mapping[str, str]) -> str:
            given = condition or _project(body, "hidden")
            rest = body.op("Mul", given if zero else "hidden", body.constant(0.0))
            null = rest if zero else _project(body, rest)
            time = body.op("Gather", times or _times(body, config), "evaluation", axis=0)
            if batched:
                both = body.op("Concat", given, null, axis=0)
                output = _network(body, config, body.op("Concat", z, z, axis=0), time, both, first)
                with_h, without = body.ops("Split", output, outputs=2, axis=0, num_outputs=2)
            else:
                with_h, without = (
                    _network(body, config, z, time, token, first) for token in (given, null)
                )
            rest = body.op("Sub", body.constant([1.0]), column["guidance"])
            weighted = body.op("Mul", column["guidance"], with_h)
            return body.op("Add", weighted, body.op("Mul", rest, without))

        integrate(g, config.codec.acoustic_dim, velocity)

    return build


def _project(g: GraphBuilder, hidden: str) -> str:
    return g.linear(hidden, f"{PREFIX}llm_projection.weight")


def _times(g: GraphBuilder, config: ModelConfig) -> str:
    """The time tokens of all evaluations, [evaluations, dim]."""
    return g.linear(time_embeddings(g, config.flow.dim), f"{PREFIX}time_projection.weight")


def _network(
    g: GraphBuilder, config: ModelConfig, z: str, time: str, conditions: str, first: bool
) -> str:
    """z [R, n], time [dim], conditions [R, dim] -> velocities [R, n]; `first` as the saving says."""
    c = config.flow
    x = g.linear(z, f"{PREFIX}input_projection.weight")
    parts = [x, g.op("Expand", time, g.op("Shape", x)), conditions]
    tokens = g.op("Concat", *(g.op("Unsqueeze", p, g.constant([1])) for p in parts), axis=1)
    normed = rms_norm(g, tokens, f"{PREFIX}layers.0.attention_norm.weight", c.norm_eps)
    for i in range(c.n_layers):
        layer, last = f"{PREFIX}layers.{i}.", i + 1 == c.n_layers
        queries = normed
        if last and first:
            queries, tokens = first_token(g, normed), first_token(g, tokens)
        inputs = zip(PROJECTIONS, (queries, normed, normed), strict=True)
        projected = [g.linear(value, f"{layer}attention.{kind}.weight") for kind, value in inputs]
        branch = g.linear(attention(g, config, *projected), f"{layer}attention.wo.weight")
        normed, tokens = add_and_norm(g, tokens, branch, f"{layer}ffn_norm.weight", c.norm_eps)
        branch = swiglu(g, normed, f"{layer}feed_forward.")
        name = f"{PREFIX}norm.weight" if last else f"{PREFIX}layers.{i + 1}.attention_norm.weight"
        normed, tokens = add_and_norm(g, tokens, branch, name, c.norm_eps)
    if not first:
        normed = first_token(g, normed)
    output = g.linear(normed, f"{PREFIX}acoustic_codebook_output.weight")
    return g.op("Squeeze", output, g.constant([1]))


def measure(shape: str, candidate: str) -> tuple[float, list[float]]:
    """ms a frame of the naive graph; what is left of them with each saving, against the last."""
    config = ModelConfig.from_dict(load_shape(shape))
    recipe = recipe_of(*CANDIDATES[candidate])
    naive, ratios = 0.0, []
    for savings in range(1, len(SAVINGS) + 1):
        with TemporaryDirectory(prefix="flowvox-bench-") as folder:
            pair = [
                load_candidate(
                    Path(folder) / str(n), FLOW, config, recipe, cores(), naive_flow(n)
                ).frame
                for n in (savings - 1, savings)
            ]
            before, after = interleave(pair, time.process_time, PATIENCE)
            del pair
        naive = naive or 1e3 * min(before)
        ratios.append(min(after) / min(before))
    return naive, ratios


def main() -> None:
    """Print the table."""
    shape = sys.argv[1] if len(sys.argv) > 1 else "4b"
    candidate = sys.argv[2] if len(sys.argv) > 2 else "w8a8, heads too"
    naive, ratios = measure(shape, candidate)
    print(
        f"{shape}, {candidate}, {cpu_name()}, {cores()} threads, onnxruntime {ort.__version__}\n\n"
        "| flow graph | processor ms a frame | of the line before |\n|---|---:|---:|"
    )
    print(f"| as the reference computes | {naive:.1f} | |")
    left = naive
    for name, ratio in zip(SAVINGS, ratios, strict=True):
        left *= ratio
        print(f"| {name} | {left:.1f} | {ratio:.1%} |")


if __name__ == "__main__":
    main()
