"""A model with an adapter in its weights: W + scale * (alpha / r) B A."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.reference.lora.peft_files import random_factors, write_adapter

from flowvox.errors import AdapterError
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.lora.merged import MergedSource
from flowvox.reference.lora.names import from_half_split

UP, FLOW_QUERY = "layers.1.feed_forward.w3", "acoustic_transformer.layers.0.attention.wq"


@pytest.fixture
def base(random_micro: Path) -> Checkpoint:
    return Checkpoint.open(random_micro)


def factors(base: Checkpoint, *modules: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        module: random_factors(base.shapes[f"{module}.weight"], seed=i)
        for i, module in enumerate(modules)
    }


def test_known_sum(base: Checkpoint, tmp_path: Path) -> None:
    known = factors(base, UP, FLOW_QUERY)
    source = MergedSource(base, write_adapter(tmp_path, known, lora_alpha=6), scale=0.5)
    for module, (a, b) in known.items():
        expected = base.read(f"{module}.weight") + 1.5 * b @ a
        np.testing.assert_allclose(source.read(f"{module}.weight"), expected, atol=1e-6)
        rows = source.read_rows(f"{module}.weight", 5, 9)
        np.testing.assert_allclose(rows, expected[5:9], atol=1e-6)
        assert source.zero_rows(f"{module}.weight") == 0


def test_everything_else_is_the_base(base: Checkpoint, tmp_path: Path) -> None:
    source = MergedSource(base, write_adapter(tmp_path, factors(base, UP)))
    for name in base.shapes:
        if name != f"{UP}.weight":
            np.testing.assert_array_equal(source.read(name), base.read(name))
            assert source.block_format(name) == base.block_format(name)
    assert list(source.voices()) == ["first", "second"]
    assert source.tokenizer_json() == base.tokenizer_json()


@pytest.mark.parametrize(
    ("theirs", "ours", "heads"),
    [("q_proj", "wq", 6), ("k_proj", "wk", 3), ("v_proj", "wv", 0), ("o_proj", "wo", 0)],
)
def test_query_and_key_rows_of_transformers(
    base: Checkpoint, tmp_path: Path, theirs: str, ours: str, heads: int
) -> None:
    """Rows are put into our order, whole or some of them."""
    name = f"layers.1.attention.{ours}.weight"
    a, b = random_factors(base.shapes[name])
    module = f"model.layers.1.self_attn.{theirs}"
    source = MergedSource(base, write_adapter(tmp_path, {module: (a, b)}))
    change = from_half_split(b @ a, heads) if heads else b @ a
    expected = base.read(name) + change
    np.testing.assert_allclose(source.read(name), expected, atol=1e-6)
    np.testing.assert_allclose(source.read_rows(name, 7, 12), expected[7:12], atol=1e-6)


def test_hash_tells_merged_models_apart(base: Checkpoint, tmp_path: Path) -> None:
    known = factors(base, UP)
    one = write_adapter(tmp_path / "one", known)
    moved = write_adapter(tmp_path / "moved", known, base_model_name_or_path="elsewhere")
    stronger = write_adapter(tmp_path / "stronger", known, lora_alpha=4)
    other = write_adapter(tmp_path / "other", factors(base, FLOW_QUERY))
    hashes = {
        path.name: MergedSource(base, path).source_hash()
        for path in (one, moved, stronger, other)
    }  # fmt: skip
    assert hashes["one"] == hashes["moved"] != base.source_hash()
    assert hashes["stronger"] == MergedSource(base, one, 2.0).source_hash()
    twice = MergedSource(MergedSource(base, one), other)
    different = {hashes["one"], hashes["stronger"], hashes["other"], twice.source_hash()}
    assert len(different) == 4
    assert [record["matrices"] for record in twice.adapters] == [1, 1]


def test_a_scale_that_overflows(base: Checkpoint, tmp_path: Path) -> None:
    known = {UP: tuple(np.float32(1e18) * x for x in factors(base, UP)[UP])}
    source = MergedSource(base, write_adapter(tmp_path, known), scale=1e30)
    with np.errstate(over="ignore"), pytest.raises(AdapterError, match=f"{UP}.*scale too large"):
        source.read(f"{UP}.weight")
