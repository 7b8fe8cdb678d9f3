"""`method: imatrix` in a GGUF file: blocks of the same size that serve the real inputs better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowvox.errors import RecipeError
from flowvox.exporters.gguf.plan import plan
from flowvox.exporters.gguf.reader import GgufCheckpoint
from flowvox.exporters.gguf.writer import export_gguf
from flowvox.quantizers.calibration import cache
from flowvox.recipe import Recipe
from flowvox.reference.checkpoint import Checkpoint

MATRICES = ["layers.1.attention.wo.weight", "acoustic_transformer.layers.0.feed_forward.w2.weight"]


def recipe(method: str) -> Recipe:
    rules = [
        {"component": "flow", "tensor": "*.layers.*", "format": "q4_k", "method": method},
        {"component": "backbone", "tensor": "layers.*", "format": "q4_k", "method": method},
        {"component": "*", "format": "float16"},
    ]
    return Recipe.from_dict({"version": 1, "name": method, "rules": rules}, "here")


def test_outputs_are_nearer(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "UTTERANCES", 2)
    monkeypatch.setattr(cache, "MAX_FRAMES", 16)
    source = Checkpoint.open(tiny)
    statistics = cache.calibrate(source, "tiny", folder=tmp_path / "cache")
    files = {}
    for method in ("search", "imatrix"):
        out = tmp_path / f"{method}.gguf"
        export_gguf(source, recipe(method), out, statistics=statistics)
        files[method] = GgufCheckpoint(out)
    for name in MATRICES:
        hessian, weights = statistics(name).hessian(), source.read(name)
        error = {method: file.read(name) - weights for method, file in files.items()}
        loss = {method: np.vdot(e @ hessian, e) for method, e in error.items()}
        assert loss["imatrix"] < loss["search"]
    sizes = {(tmp_path / f"{method}.gguf").stat().st_size for method in files}
    assert max(sizes) - min(sizes) < 200  # names of methods in the metadata


def test_calibration_does_not_know_the_codec(tiny: Path) -> None:
    rules = [
        {"component": "codec_decoder", "format": "q4_k", "method": "imatrix"},
        {"component": "*", "format": "float16"},
    ]
    chosen = Recipe.from_dict({"version": 1, "name": "x", "rules": rules}, "here")
    with pytest.raises(RecipeError, match="backbone and flow"):
        plan(Checkpoint.open(tiny).config, chosen, encoder=False)
