"""The error per layer is read out of the bundle's own graph, and is that of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowvox.eval.artifact import open_artifact

VOICED = ("Hello there.", "first")


@pytest.fixture(scope="module")
def codes(random_micro: Path) -> np.ndarray:
    return open_artifact(random_micro).speak(*VOICED, 0, 0.8).codes


def test_the_fp32_bundle_has_the_layers_of_the_reference(
    random_micro: Path, micro_bundles: dict[str, Path], codes: np.ndarray
) -> None:
    truth = open_artifact(random_micro).layers(*VOICED, codes)
    layers = open_artifact(micro_bundles["fp32"]).layers(*VOICED, codes)
    assert layers.shape == truth.shape == (2, len(codes) + 1, 40)
    np.testing.assert_allclose(layers, truth, rtol=1e-4, atol=1e-5)


def test_the_last_layer_is_what_the_final_norm_sees(
    micro_bundles: dict[str, Path], codes: np.ndarray
) -> None:
    artifact = open_artifact(micro_bundles["fp32"])
    last = artifact.layers(*VOICED, codes)[-1]
    hidden = artifact.hidden_states(*VOICED, codes)
    normed = last / np.sqrt(np.square(last).mean(-1, keepdims=True) + 1e-5)
    gain = (hidden / normed).mean(0)  # the norm's weight, which is the same for every frame
    np.testing.assert_allclose(normed * gain, hidden, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "least", "most"), [("fp16", 0, 1e-3), ("int8", 1e-4, 3e-2), ("int4", 1e-2, 0.5)]
)
def test_every_recipe_can_be_probed_and_coarser_is_further_off(
    micro_bundles: dict[str, Path], codes: np.ndarray, recipe: str, least: float, most: float
) -> None:
    truth = open_artifact(micro_bundles["fp32"]).layers(*VOICED, codes)
    layers = open_artifact(micro_bundles[recipe]).layers(*VOICED, codes)
    errors = np.sqrt(np.square(layers - truth).sum((1, 2)) / np.square(truth).sum((1, 2)))
    assert least <= errors.min() <= errors.max() < most
