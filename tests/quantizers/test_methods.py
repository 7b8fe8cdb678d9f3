"""Every method on every layer of the trained model, with the errors of its own activations.

Methods that see the inputs are never worse than rounding. Those that look at the weights alone cannot
know which column is loud: on a layer they may lose a little, over the model they gain.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flowvox.quantizers.allocation.groups import all_groups
from flowvox.quantizers.calibration import cache
from flowvox.quantizers.calibration.cache import Calibration
from flowvox.quantizers.channels import quantize_channels
from flowvox.quantizers.folding.rotation import RotatedSource
from flowvox.quantizers.matrix import quantize_blocks
from flowvox.quantizers.statistics import InputStatistics
from flowvox.reference.checkpoint import Checkpoint
from flowvox.source import ModelSource

ROWS = 48  # of each matrix for gptq, which takes long: rows are quantized one by one
BLIND = ("search", "hqq")
Quantize = Callable[[np.ndarray, str, InputStatistics], np.ndarray]


def in_blocks(
    bits: int, symmetric: bool, weights: np.ndarray, method: str, known: InputStatistics
) -> np.ndarray:
    block = 64 if bits == 2 else 32
    encoded = quantize_blocks(weights, bits, block, method, symmetric=symmetric, statistics=known)
    return encoded.dequantized()


def in_channels(weights: np.ndarray, method: str, known: InputStatistics) -> np.ndarray:
    return quantize_channels(weights, method, known).dequantized()


FORMATS: dict[str, tuple[Quantize, tuple[str, ...]]] = {
    "int4": (partial(in_blocks, 4, True), ("search", "hqq", "imatrix", "gptq")),
    "int4 zp": (partial(in_blocks, 4, False), ("search", "hqq", "imatrix", "gptq")),
    "int8": (partial(in_blocks, 8, True), ("search", "imatrix", "gptq")),
    "int2 zp": (partial(in_blocks, 2, False), ("search", "imatrix", "gptq")),
    "w8a8": (in_channels, ("search", "gptq")),
}


Known = Callable[[str], InputStatistics]


def in_memory(calibration: Calibration) -> Known:
    """Statistics that are read once, not for every method anew."""
    found: dict[str, InputStatistics] = {}

    def known(name: str) -> InputStatistics:
        site = calibration.site(name)
        if site not in found:
            read = calibration(name)
            hessian = read.hessian()
            found[site] = InputStatistics(read.mean_square, read.maximum, hessian.copy)
        return found[site]

    return known


@pytest.fixture(scope="module")
def known(tiny_calibration: Calibration) -> Known:
    return in_memory(tiny_calibration)


def layer_errors(
    source: ModelSource, known: Known, quantize: Quantize, method: str, rows: int | None
) -> dict[str, float]:
    """By layer the sum over its matrices of ||X (W - Wq)^T||^2, X the inputs that calibration saw."""
    found: dict[str, float] = {}
    for group in all_groups(source.config):
        if group.layer is None:
            continue
        layer = f"{group.component} {group.layer}"
        for name in group.tensors:
            weights = source.read(name)[:rows]
            error = (quantize(weights, method, known(name)) - weights).astype(np.float64)
            loss = float(np.einsum("ij,ij->", error @ known(name).hessian(), error))
            found[layer] = found.get(layer, 0.0) + loss
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_no_worse_than_rounding_on_any_layer(tiny: Path, known: Known, name: str) -> None:
    source, (quantize, methods) = Checkpoint.open(tiny), FORMATS[name]
    rounded = {rows: layer_errors(source, known, quantize, "round", rows) for rows in (None, ROWS)}
    mean = {}
    for method in methods:
        rows = ROWS if method == "gptq" else None
        found = layer_errors(source, known, quantize, method, rows)
        ratios = {layer: found[layer] / rounded[rows][layer] for layer in found}
        mean[method] = float(np.mean(list(ratios.values())))
        assert max(ratios.values()) <= (1.15 if method in BLIND else 1), (method, ratios)
        assert mean[method] < (1.02 if name == "w8a8" else 1), (method, ratios)
    assert mean["gptq"] < min(0.7, *(mean[method] for method in methods[:-1]))


def test_a_rotated_model_is_rounded_no_worse(
    tiny: Path, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "UTTERANCES", 2)
    monkeypatch.setattr(cache, "MAX_FRAMES", 24)
    source, quantize = Checkpoint.open(tiny), FORMATS["int4"][0]
    turned = RotatedSource(source, "residual+heads")
    its = in_memory(cache.calibrate(turned, "turned", folder=tmp_path))
    plain = layer_errors(source, known, quantize, "round", None)
    for method in ("search", "imatrix"):
        found = layer_errors(turned, its, quantize, method, None)
        ratios = [found[layer] / plain[layer] for layer in plain]
        assert max(ratios) <= (1.15 if method in BLIND else 1)
        assert np.mean(ratios) < 1
