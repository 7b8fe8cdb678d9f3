"""Folding changes nothing: the whole model, scaled at every joint, says the same in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowvox.quantizers.folding.joints import joints
from flowvox.quantizers.folding.preparation import Preparation
from flowvox.quantizers.statistics import InputStatistics
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import VoxtralTTS, load_model


def unknown(name: str) -> InputStatistics:
    raise AssertionError(name)


@pytest.fixture
def folded(random_micro: Path) -> tuple[VoxtralTTS, VoxtralTTS]:
    """The micro model as it is, and with random scales from 1/5 to 5 at every joint."""
    source = Checkpoint.open(random_micro)
    rng, preparation = np.random.default_rng(0), Preparation(unknown)
    for joint in joints(source.config):
        columns = source.shapes[joint.takers[0]][1]
        scales = np.exp(rng.uniform(-1.6, 1.6, columns // joint.sharing)).astype(np.float32)
        preparation.fold(joint, scales)
    plain, scaled = load_model(source), load_model(source)
    touched = 0
    for name, parameter in scaled.checkpoint_parameters().items():
        if preparation.touches(name):
            values = preparation.weights(name, source.read(name))
            parameter.copy_(torch.from_numpy(values))
            touched += 1
    layers = source.config.backbone.n_layers + source.config.flow.n_layers
    assert touched == 9 * layers
    return plain, scaled


def test_the_backbone_says_the_same(folded: tuple[VoxtralTTS, VoxtralTTS]) -> None:
    """Grouped queries included: six query heads read three key-value heads."""
    x = torch.randn(1, 20, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain, scaled = (model.backbone(x) for model in folded)
    np.testing.assert_allclose(scaled, plain, atol=1e-5 * float(plain.abs().max()))


def test_the_flow_head_says_the_same(folded: tuple[VoxtralTTS, VoxtralTTS]) -> None:
    generator = torch.Generator().manual_seed(1)
    hidden, noise = (torch.randn(7, size, generator=generator) for size in (40, 5))
    with torch.inference_mode():
        plain, scaled = (model.flow.sample(hidden, noise) for model in folded)
    np.testing.assert_allclose(scaled, plain, atol=1e-5 * float(plain.abs().max()))


def test_statistics_are_those_of_the_scaled_inputs() -> None:
    rng = np.random.default_rng(2)
    x, scales = rng.normal(size=(50, 8)), rng.uniform(0.5, 2, 8).astype(np.float32)

    def of(inputs: np.ndarray) -> InputStatistics:
        hessian = (inputs.T @ inputs / len(inputs)).astype(np.float32)
        return InputStatistics(np.diag(hessian), np.abs(inputs).max(0), lambda: hessian)

    found, expected = of(x).folded(scales), of(x / scales)
    np.testing.assert_allclose(found.hessian(), expected.hessian(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.mean_square, expected.mean_square, rtol=1e-5)
    np.testing.assert_allclose(found.maximum, expected.maximum, rtol=1e-5)
