"""The table that `make quantize` ends in."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from flowvox.eval.sizes import WIDTH, measured, table
from flowvox.exporters.gguf.writer import export_gguf
from flowvox.recipe import load_recipe
from flowvox.reference.checkpoint import Checkpoint


def test_bundles_and_gguf_files_stand_side_by_side_with_whole_names(
    micro_bundles: dict[str, Path], random_micro: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a-name-of-some-length.gguf"
    export_gguf(Checkpoint.open(random_micro), load_recipe("fp16"), file)
    size, bits = measured(file)
    assert size == file.stat().st_size
    assert bits["code_embeddings"] == pytest.approx(16)
    console = Console(width=WIDTH, record=True)
    console.print(table([micro_bundles["int4"], file]))
    text = console.export_text()
    assert micro_bundles["int4"].name in text
    assert file.name in text
