"""A recipe with calibrated methods, from checkpoint to bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import export

from flowvox.bundle import Bundle
from flowvox.quantizers.calibration import cache

RECIPE = """
version: 1
name: calibrated
rules:
  - {component: backbone, tensor: "*norm.weight", format: float32}
  - {component: backbone, tensor: "*.feed_forward.*", format: int4, method: gptq}
  - {component: backbone, format: int8, method: imatrix, symmetric: false}
  - {component: flow, tensor: "*.attention.w*", format: w8a8, method: smooth}
  - {component: flow, tensor: "*.layers.*.w?.weight", format: int4, method: awq+gptq}
  - {component: "*", format: float16}
"""


def test_the_export_calibrates_when_the_recipe_asks_for_it(
    tiny: Path, tiny_int4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "UTTERANCES", 2)
    monkeypatch.setattr(cache, "MAX_FRAMES", 16)
    monkeypatch.setenv("FLOWVOX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    out = export(tiny, str(tmp_path / "recipe.yaml"), tmp_path / "bundle")
    assert list((tmp_path / "cache" / "calibration").glob("*/layers.0.*.npz"))
    errors = {
        path: Bundle.open(path).manifest["checks"]["flow"]["relative_error"]["latents"]
        for path in (out, tiny_int4)
    }
    assert errors[out] < 0.7 * errors[tiny_int4]
