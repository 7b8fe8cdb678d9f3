"""`w8` in a bundle: a byte a weight on disk, convolutions too, float32 in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.conftest import export

from flowvox import TTS

RULES = [
    {"component": "token_embeddings", "format": "float32"},
    {"component": "code_embeddings", "format": "float32"},
    {"component": "*", "format": "w8"},
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, random_micro: Path) -> Path:
    """Everything but the tables in bytes."""
    folder = tmp_path_factory.mktemp("bytes")
    recipe = {"version": 1, "name": "bytes", "description": "", "rules": RULES}
    (folder / "bytes.yaml").write_text(yaml.safe_dump(recipe))
    return export(random_micro, str(folder / "bytes.yaml"), folder / "bundle")


def test_it_takes_little_more_than_a_quarter_of_float32(
    bundle: Path, micro_bundles: dict[str, Path]
) -> None:
    for graph in ("backbone", "codec_decoder", "codec_encoder"):
        ours, floats = (
            (path / f"{graph}.onnx.data").stat().st_size for path in (bundle, micro_bundles["fp32"])
        )
        assert ours < 0.42 * floats, graph  # scales and vectors are float32


def test_outputs_are_nearly_those_of_the_reference(bundle: Path) -> None:
    checks = json.loads((bundle / "manifest.json").read_text("utf-8"))["checks"]
    for graph in ("backbone", "flow", "codec_decoder"):
        assert max(checks[graph]["relative_error"].values()) < 0.03, graph


def test_it_speaks(bundle: Path) -> None:
    assert len(TTS.load(bundle, device="cpu").say("Hi.", max_seconds=0.4).samples) > 0
