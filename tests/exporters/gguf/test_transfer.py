"""What a conversion from a GGUF file adds to its error is said, and is what happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.exporters.gguf.conftest import Convert

from flowvox.exporters.gguf.reader import GgufCheckpoint
from flowvox.exporters.gguf.transfer import transfer
from flowvox.exporters.onnx.placement import ComponentWeights
from flowvox.quantizers.weights import BlockWeights
from flowvox.recipe import Recipe, load_recipe
from flowvox.reference.checkpoint import Checkpoint

MATRIX = "layers.0.attention.wq.weight"


def recipe(**rule: object) -> Recipe:
    rules = [
        {"component": "backbone", "tensor": "*norm*", "format": "float32"},
        {"component": "backbone", **rule},
        {"component": "*", "format": "float32"},
    ]
    return Recipe.from_dict({"version": 1, "name": "mine", "rules": rules}, "here")


@pytest.mark.parametrize(
    ("stored", "chosen"),
    [("q4_0", recipe(format="int4", block=32)), ("q8_0", recipe(format="int8", block=32)),
     ("q6_k", recipe(format="int8", block=16))],
)  # fmt: skip
def test_blocks_that_mean_the_same_are_kept(
    wide_micro: Path, convert: Convert, stored: str, chosen: Recipe
) -> None:
    source = GgufCheckpoint(convert(wide_micro, stored))
    weights = ComponentWeights(source, chosen, "backbone").matrix(MATRIX)
    assert isinstance(weights, BlockWeights)
    np.testing.assert_array_equal(weights.dequantized(), source.read(MATRIX))
    report = transfer(source, chosen, "onnx")
    assert report["kept"] == 2 * 7
    assert set(report["converted"]) <= {f"{stored} to float32", "q8_0 to float32"}
    assert all(entry["relative_error"] == 0 for entry in report["converted"].values())


def test_the_loss_of_all_others_is_measured(wide_micro: Path, convert: Convert) -> None:
    source, chosen = GgufCheckpoint(convert(wide_micro, "q4_k")), load_recipe("int4")
    report = transfer(source, chosen, "onnx")
    assert report["kept"] == 0
    stored = ComponentWeights(source, chosen, "backbone").matrix(MATRIX)
    assert isinstance(stored, BlockWeights)
    meant = source.read(MATRIX)
    error = np.sqrt(np.square(stored.dequantized() - meant).sum() / np.square(meant).sum())
    found = report["converted"]["q4_k to int4"]
    assert found["matrices"] == 2 * 7 + 5
    assert found["relative_error"] == pytest.approx(error, rel=0.1)
    assert 0.05 < report["converted"]["q8_0 to int4"]["relative_error"] < 0.12
    eight = transfer(source, load_recipe("int8"), "onnx")["converted"]
    assert eight["q8_0 to int8"]["relative_error"] < 0.01


def test_from_file_to_file(wide_micro: Path, convert: Convert) -> None:
    source = GgufCheckpoint(convert(wide_micro, "q8_0"))
    assert transfer(source, load_recipe("q8_0"), "gguf")["converted"] == {}
    smaller = transfer(source, load_recipe("q4_k"), "gguf")["converted"]
    assert 0.06 < smaller["q8_0 to q4_k"]["relative_error"] < 0.09


def test_a_checkpoint_has_nothing_to_keep(wide_micro: Path) -> None:
    assert transfer(Checkpoint.open(wide_micro), load_recipe("int4"), "onnx") == {
        "kept": 0,
        "converted": {},
    }
