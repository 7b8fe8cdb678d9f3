"""Rotations change nothing but the rounding: the turned model says the same, outliers are gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import export_source

from flowvox.errors import CheckpointError, RecipeError
from flowvox.eval.artifact import BundleArtifact
from flowvox.eval.forced import compare, record_truth
from flowvox.exporters.gguf.backbone_file import export_backbone
from flowvox.exporters.gguf.reader import GgufCheckpoint
from flowvox.exporters.gguf.writer import export_gguf
from flowvox.noise import frame_noise
from flowvox.quantizers.folding.rotation import RotatedSource, rotated, statistics_key, turn
from flowvox.quantizers.matrix import quantize_blocks
from flowvox.recipe import ROTATIONS, Recipe, load_recipe
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import load_model
from flowvox.reference.speak import ReferenceTTS
from flowvox.source import ModelSource

VALUE = "layers.0.attention.wv.weight"


def recipe(rotation: str, fmt: str = "float32") -> Recipe:
    rules = [{"component": "*", "format": fmt}]
    data = {"version": 1, "name": "turned", "rotation": rotation, "rules": rules}
    return Recipe.from_dict(data, "here")


def speaks(source: ModelSource) -> ReferenceTTS:
    return ReferenceTTS(source, load_model(source))


@pytest.fixture
def loud(random_micro: Path) -> Checkpoint:
    """Gains that differ, as trained models have them: folding them has something to do."""
    source, rng = Checkpoint.open(random_micro), np.random.default_rng(0)
    gains = {
        name: np.exp(rng.uniform(-1, 1, shape)).astype(np.float32)
        for name, shape in source.shapes.items()
        if name.endswith("norm.weight") and "audio_tokenizer" not in name
    }
    read = source.read
    source.read = lambda name: gains[name].copy() if name in gains else read(name)  # type: ignore[method-assign]
    return source


@pytest.mark.parametrize("n", [1, 6, 16, 40, 44, 3072])
def test_r_is_orthogonal(n: int) -> None:
    r = turn(np.eye(n), "backbone")
    np.testing.assert_allclose(r @ r.T, np.eye(n), atol=1e-12)


def test_an_outlier_is_spread_over_all_channels() -> None:
    x = np.zeros((1, 256))
    x[0, 17] = 16
    np.testing.assert_allclose(np.abs(turn(x, "backbone")), 1)


@pytest.mark.parametrize("rotation", ROTATIONS[1:])
def test_the_turned_model_says_the_same_in_float32(loud: Checkpoint, rotation: str) -> None:
    plain, turned = speaks(loud), speaks(rotated(loud, recipe(rotation)))
    codes = plain.generate("a b", "first", seed=0, max_frames=6).codes
    found = []
    for tts in (plain, turned):
        hidden = torch.from_numpy(tts.hidden_states("a b", "first", codes))
        noise = torch.from_numpy(frame_noise(0, len(hidden), codes.shape[1] - 1))
        with torch.inference_mode():
            logits = tts.model.flow.semantic_codebook_output(hidden)
            found.append((logits, tts.model.flow.sample(hidden, noise)))
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * float(expected.abs().max()))
    np.testing.assert_array_equal(
        turned.generate("a b", "first", seed=0, max_frames=6).codes, codes
    )


def test_norms_have_no_gain_left(loud: Checkpoint) -> None:
    turned = RotatedSource(loud, "residual")
    norms = [n for n in loud.shapes if n.endswith("norm.weight") and "audio_tokenizer" not in n]
    assert all(np.all(turned.read(name) == 1) for name in norms)
    assert RotatedSource(loud, "heads").read(norms[0]).std() > 0


def test_rows_are_those_of_the_whole(loud: Checkpoint) -> None:
    turned = RotatedSource(loud, "residual+heads")
    for name, shape in loud.shapes.items():
        middle = shape[0] // 2
        np.testing.assert_array_equal(
            turned.read_rows(name, middle, shape[0]), turned.read(name)[middle:]
        )


def test_blocks_of_turned_matrices_are_not_handed_on(loud: Checkpoint) -> None:
    turned = RotatedSource(loud, "heads")
    assert turned.block_format(VALUE) is None
    with pytest.raises(CheckpointError, match="rotated"):
        turned.packed(VALUE)
    assert turned.source_hash() == loud.source_hash()
    assert statistics_key("a", recipe("heads")) != statistics_key("a", recipe("none")) == "a"


def test_weights_with_loud_channels_are_rounded_better() -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(64, 256)).astype(np.float32)
    weights[:, ::64] *= 30
    error = {}
    for name, used in (("plain", weights), ("turned", turn(weights, "backbone"))):
        used = used.astype(np.float32)
        error[name] = np.square(quantize_blocks(used, 4, 32, "search").dequantized() - used).sum()
    assert error["turned"] < 0.5 * error["plain"]


def test_a_bundle_and_a_file_speak_as_the_checkpoint_does(loud: Checkpoint, tmp_path: Path) -> None:
    plain, both = speaks(loud), recipe("residual+heads")
    export_gguf(loud, both, tmp_path / "x.gguf")
    file = GgufCheckpoint(tmp_path / "x.gguf")
    assert file.rules["rotation"] == "residual+heads"
    (tmp_path / "x.yaml").write_text(
        "{version: 1, name: x, rotation: residual+heads, rules: [{component: '*', format: float32}]}"
    )
    bundle = BundleArtifact(export_source(loud, str(tmp_path / "x.yaml"), tmp_path / "b"), 1)
    assert bundle.rotated
    said = bundle.speak("a b", "first", 0, 0.4).codes
    expected = plain.generate("a b", "first", seed=0, max_frames=len(said)).codes
    np.testing.assert_array_equal(said, expected)
    again = speaks(file).generate("a b", "first", seed=0, max_frames=len(said)).codes
    np.testing.assert_array_equal(again, expected)


def test_the_harness_compares_what_has_the_same_meaning(
    random_micro: Path, micro_bundles: dict[str, Path], tmp_path: Path
) -> None:
    """Logits and latents; hidden states of a turned model are in a basis of their own."""
    baseline = BundleArtifact(micro_bundles["fp32"], threads=1)
    (tmp_path / "x.yaml").write_text(
        "{version: 1, name: x, rotation: residual, rules: [{component: '*', format: float32}]}"
    )
    made = export_source(Checkpoint.open(random_micro), str(tmp_path / "x.yaml"), tmp_path / "b")
    codes = baseline.speak("a b", "first", 0, 0.3).codes
    noise = frame_noise(0, len(codes) + 1, baseline.config.codec.acoustic_dim)
    truth = record_truth(baseline, "a b", "first", codes, False, noise)
    rows = compare(BundleArtifact(made, 1), "a b", "first", truth, one_basis=False)
    assert rows["kld"].max() < 1e-8
    assert rows["fsq_exact"].min() == 1
    assert "hidden_error" not in rows


def test_a_backbone_alone_is_not_turned(random_micro: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="remove rotation"):
        export_backbone(Checkpoint.open(random_micro), recipe("residual"), tmp_path / "x.gguf")
    with pytest.raises(RecipeError, match="rotation is 'all'"):
        recipe("all")
    assert load_recipe("int4").rotation == "none"
