"""A graph in slices computes what the whole graph computes, with a bounded part of it loaded."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.exporters.onnx.slices import SlicedGraph, names_used
from flowvox.reference.activations import Activations, record
from flowvox.reference.checkpoint import Checkpoint

GRAPHS = ("backbone", "flow", "codec_decoder", "codec_encoder")


@pytest.fixture(scope="module")
def recordings(random_micro: Path) -> dict[str, Activations]:
    return record(Checkpoint.open(random_micro))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("recipe", ["fp32", "fp16", "int4"])
@given(budget=st.integers(8_000, 80_000))
@settings(max_examples=2, deadline=None)
def test_slices_compute_what_the_whole_computes(
    micro_bundles: dict[str, Path],
    recordings: dict[str, Activations],
    recipe: str,
    graph: str,
    budget: int,
) -> None:
    folder, feeds, outputs, _ = micro_bundles[recipe], *recordings[graph]
    whole = ort.InferenceSession(str(folder / f"{graph}.onnx")).run(list(outputs), feeds)
    (values,) = SlicedGraph(folder, graph, budget).run(list(outputs), [feeds])
    assert set(values) == set(outputs)
    for name, expected in zip(outputs, whole, strict=True):
        np.testing.assert_allclose(values[name], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_node_is_in_one_slice_and_no_slice_above_the_budget(
    micro_bundles: dict[str, Path], graph: str
) -> None:
    folder, budget = micro_bundles["fp32"], 30_000
    model = onnx.load(folder / f"{graph}.onnx", load_external_data=False)
    sizes = {t.name: 4 * math.prod(t.dims) for t in model.graph.initializer}
    slices = SlicedGraph(folder, graph, budget).slices
    assert len(slices) > 1
    nodes = [node.output[0] for part in slices for node in part.nodes]
    assert nodes == [node.output[0] for node in model.graph.node]
    for part in slices:
        largest = max(sum(sizes.get(name, 0) for name in names_used([n])) for n in part.nodes)
        held = sum(sizes.get(name, 0) for name in names_used(part.nodes))
        assert held <= max(budget, largest)


def test_many_runs_share_the_loading(
    micro_bundles: dict[str, Path], recordings: dict[str, Activations]
) -> None:
    graph = SlicedGraph(micro_bundles["int4"], "flow", 20_000)
    feeds = dict(recordings["flow"].feeds)
    other = feeds | {"hidden": -feeds["hidden"][:1], "noise": feeds["noise"][:1]}
    together = graph.run(["latents"], [feeds, other])
    for given_feeds, values in zip((feeds, other), together, strict=True):
        (alone,) = graph.run(["latents"], [given_feeds])
        np.testing.assert_array_equal(values["latents"], alone["latents"])


def test_halves_are_widened_inside_the_slice_that_uses_them(micro_bundles: dict[str, Path]) -> None:
    """A widened weight that crossed from one slice to the next would be no constant there."""
    for part in SlicedGraph(micro_bundles["int4"], "backbone", 1).slices:
        assert not [name for name in part.needs if name.endswith(".wide")]
