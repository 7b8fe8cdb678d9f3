"""The graphs that savings are measured with compute what the reference computes, all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from flowvox.eval.flow_savings import SAVINGS, naive_flow
from flowvox.exporters.onnx.builder import GraphBuilder
from flowvox.exporters.onnx.placement import ComponentWeights
from flowvox.graphs import flow_graph
from flowvox.recipe import load_recipe
from flowvox.reference.speak import ReferenceTTS
from flowvox.schedule import Sampling

SAMPLING = Sampling("midpoint", 3, 1.4)


@pytest.fixture(scope="module")
def reference(random_micro: Path) -> ReferenceTTS:
    return ReferenceTTS.load(random_micro)


@pytest.mark.parametrize("recipe", ["fp32", "fp16"])
@pytest.mark.parametrize("savings", range(len(SAVINGS) + 1))
def test_every_saving_is_exact(
    tmp_path: Path, reference: ReferenceTTS, savings: int, recipe: str
) -> None:
    config = reference.model.config
    weights = ComponentWeights(reference.checkpoint, load_recipe(recipe), "flow")
    with GraphBuilder(flow_graph(config), tmp_path, weights) as graph:
        naive_flow(savings)(graph, config)
        graph.save()
    rng = np.random.default_rng(0)
    feeds = {
        "hidden": rng.normal(size=(3, config.backbone.dim)).astype(np.float32),
        "noise": rng.normal(size=(3, config.codec.acoustic_dim)).astype(np.float32),
        "schedule": SAMPLING.schedule(),
    }
    session = ort.InferenceSession(str(tmp_path / "flow.onnx"))
    (latents,) = session.run(["latents"], feeds)
    hidden, noise = torch.from_numpy(feeds["hidden"]), torch.from_numpy(feeds["noise"])
    expected = reference.model.flow.sample(hidden, noise, SAMPLING).detach().numpy()
    tolerance = {"fp32": 1e-5, "fp16": 0.02}[recipe]
    np.testing.assert_allclose(latents, expected, rtol=0, atol=tolerance)
