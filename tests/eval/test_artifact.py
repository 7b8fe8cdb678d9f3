"""Bundles, checkpoints and GGUF files of one model answer the harness alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowvox.eval.artifact import Artifact, artifact_bytes, open_artifact
from flowvox.recipe import load_recipe
from flowvox.reference.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def gguf(random_micro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf")
    from flowvox.exporters.gguf.writer import export_gguf

    out = tmp_path_factory.mktemp("gguf") / "micro.gguf"
    export_gguf(Checkpoint.open(random_micro), load_recipe("fp32"), out, overwrite=False)
    return out


@pytest.fixture(params=["bundle", "gguf"])
def artifact(request: pytest.FixtureRequest, micro_bundles: dict[str, Path]) -> Artifact:
    path = micro_bundles["fp32"]
    return open_artifact(path if request.param == "bundle" else request.getfixturevalue("gguf"))


def test_all_say_what_the_checkpoint_says(artifact: Artifact, random_micro: Path) -> None:
    reference = open_artifact(random_micro)
    assert artifact.source_sha256 == reference.source_sha256 == reference.sha256
    assert artifact.recipe in {"fp32", "gguf fp32"}
    assert artifact.voices == reference.voices
    said = [a.speak("Hello.", "first", 0, 0.5) for a in (artifact, reference)]
    np.testing.assert_array_equal(said[0].codes, said[1].codes)
    codes = said[0].codes
    for ask in ("hidden_states", "layers"):
        ours, theirs = (getattr(a, ask)("Hello.", "first", codes) for a in (artifact, reference))
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    hidden = reference.hidden_states("Hello.", "first", codes)
    x = np.zeros((len(hidden), reference.config.codec.acoustic_dim), dtype=np.float32)
    ours, theirs = (a.velocity(hidden, x, 3 / 7) for a in (artifact, reference))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    np.testing.assert_allclose(artifact.decode(codes), reference.decode(codes), atol=1e-5)


def test_size(gguf: Path, micro_bundles: dict[str, Path]) -> None:
    assert artifact_bytes(gguf) == gguf.stat().st_size
    folder = micro_bundles["fp32"]
    assert artifact_bytes(folder) > (folder / "backbone.onnx.data").stat().st_size
