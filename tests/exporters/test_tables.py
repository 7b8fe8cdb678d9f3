"""Tables as they are written a few rows at a time, and looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.errors import BundleError, RecipeError
from flowvox.exporters.onnx import tables as written
from flowvox.exporters.onnx.tables import write_table
from flowvox.quantizers.encode import stored_bytes
from flowvox.quantizers.matrix import quantize_blocks, quantize_rows
from flowvox.recipe import Rule
from flowvox.tables import Table
from flowvox.tensors import TOKEN_EMBEDDINGS

NAME = "token_embeddings"


class Source:
    """One table."""

    def __init__(self, table: np.ndarray) -> None:
        self.table, self.shapes = table, {TOKEN_EMBEDDINGS: table.shape}

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        return self.table[start:stop]


def stored(
    table: np.ndarray, folder: Path, fmt: str, **options: Any
) -> tuple[Table, dict[str, str]]:
    source: Any = Source(table)
    entry = write_table(source, TOKEN_EMBEDDINGS, folder, NAME, Rule(NAME, fmt, **options))
    scales = folder / entry["scales"] if "scales" in entry else None
    return Table(folder / entry["file"], scales, table.shape), entry


def expected(table: np.ndarray, fmt: str, block: int) -> np.ndarray:
    if fmt == "int4":
        return quantize_blocks(table, 4, block, "search").dequantized()
    if fmt == "int8":
        levels, scales = quantize_rows(table)
        return levels * scales[:, None]
    return table.astype(fmt).astype(np.float32)


@pytest.mark.parametrize("fmt", ["float32", "float16", "int8", "int4"])
@given(
    rows=st.integers(1, 30),
    dim=st.integers(1, 150),
    block=st.sampled_from([16, 32, 64, 128, 256]),
    at_once=st.integers(1, 2000),
    seed=st.integers(0, 9),
)
@settings(max_examples=25, deadline=None)
def test_what_is_looked_up_is_what_was_meant(
    tmp_path_factory: pytest.TempPathFactory,
    fmt: str,
    rows: int,
    dim: int,
    block: int,
    at_once: int,
    seed: int,
) -> None:
    table = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    folder = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "VALUES_AT_ONCE", at_once)
        found, entry = stored(table, folder, fmt, block=block)
    picked = np.random.default_rng(seed).integers(rows, size=(2, 3))
    np.testing.assert_array_equal(found.rows(picked), expected(table, fmt, block)[picked])
    assert found.is_finite()
    arrays = sum(np.load(folder / entry[key]).nbytes for key in ("file", "scales") if key in entry)
    assert arrays == stored_bytes(TOKEN_EMBEDDINGS, table.shape, Rule(NAME, fmt, block=block))


@pytest.mark.parametrize(
    "scales",
    [np.ones((4, 3), np.float16), np.ones((5, 2), np.float16), np.ones(4, np.float16),
     np.ones((4, 0), np.float16), np.ones((4, 2), np.int8)],
)  # fmt: skip
def test_scales_of_another_table_are_refused(tmp_path: Path, scales: np.ndarray) -> None:
    table = np.ones((4, 64), dtype=np.float32)
    _, entry = stored(table, tmp_path, "int4", block=32)
    np.save(tmp_path / entry["scales"], scales)
    with pytest.raises(BundleError, match=r"token_embeddings.*make the bundle again"):
        Table(tmp_path / entry["file"], tmp_path / entry["scales"], table.shape)


def test_values_of_another_table_are_refused(tmp_path: Path) -> None:
    _, entry = stored(np.ones((4, 64), dtype=np.float32), tmp_path, "int4", block=32)
    for shape in [(4, 65), (5, 64), (4, 32), (4, 128)]:
        with pytest.raises(BundleError):
            Table(tmp_path / entry["file"], tmp_path / entry["scales"], shape)


def test_a_value_that_half_cannot_hold_is_refused(tmp_path: Path) -> None:
    for fmt in ("float16", "int4"):
        with pytest.raises(RecipeError, match="too large"):
            stored(np.full((3, 32), 1e6, dtype=np.float32), tmp_path, fmt)
