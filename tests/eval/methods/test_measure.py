"""One command, one table: methods on the micro model, from rows to page and plots."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY

from flowvox.eval.methods import measure
from flowvox.eval.methods.measure import Bench, Row
from flowvox.eval.methods.ours import our_methods
from flowvox.eval.methods.page import goals, page
from flowvox.eval.methods.plots import by_bits, by_layer, by_method
from flowvox.eval.suite import load_suite
from flowvox.eval.tables import MISSING
from flowvox.quantizers.allocation.damage import Damage
from flowvox.quantizers.calibration import cache
from flowvox.reference.checkpoint import Checkpoint

CHOSEN = (
    "int4/32 round",
    "int4/32 gptq",
    "int4/32 awq",
    "int4/32 search, rotated",
    "int8/32 search",
)


@pytest.fixture(scope="module")
def rows(random_micro: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWVOX_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(cache, "UTTERANCES", 2)
        patch.setattr(cache, "MAX_FRAMES", 6)
        patch.setattr(measure, "MAX_FRAMES", 6)
        suite = load_suite("smoke")
        short = dataclasses.replace(suite, sentences=suite.sentences[:2])
        bench = Bench(Checkpoint.open(random_micro), short)
        return {m.name: bench.row(m) for m in our_methods() if m.name in CHOSEN}


def test_eight_bits_lose_less_than_four(rows: dict[str, Row]) -> None:
    assert set(rows) == set(CHOSEN)
    eight, four = rows["int8/32 search"], rows["int4/32 round"]
    assert eight.damage.kld < four.damage.kld
    assert eight.damage.fsq < four.damage.fsq
    assert eight.error < four.error / 4
    assert four.bits < eight.bits < 13  # rows of 40 have a padded block


def test_errors_are_given_by_group(rows: dict[str, Row]) -> None:
    for row in rows.values():
        assert len(row.errors) == 4 * (2 + 3)
        assert min(row.errors.values()) < row.error < max(row.errors.values())
    assert rows["int4/32 gptq"].error < rows["int4/32 round"].error


def known(name: str, tool: str, kld: float, bits: float = 4.5) -> Row:
    return Row(name, tool, bits, kld, Damage(kld, kld, kld, kld), 1.0, errors={"a": kld, "b": kld})


ROWS = [
    known("int4/32 round", "flowvox", 0.02),
    known("int4/32 gptq", "flowvox", 0.005),
    known("NF4", "bitsandbytes", 0.01),
    known("int8/32 gptq", "flowvox", 1e-5, 8.5),
    known("int4/128 gptq", "flowvox", 0.02, 4.125),
]


def test_the_page_leads_with_the_best_of_equal_size() -> None:
    text = page(ROWS, "micro", "smoke", 12, ["a-plot"])
    same = text.split("## 4.5 bits a weight")[1].split("##")[0]
    assert same.index("gptq") < same.index("NF4") < same.index("round")
    assert "## About 8 bits" in text
    assert "![a-plot](a-plot.svg)" in text


def test_the_goals_are_compared() -> None:
    plain, theirs = goals(ROWS)[2:]
    assert "0.25 times; same FSQ level +1.5 points" in plain
    assert "bitsandbytes NF4" in theirs
    assert "0.50 times" in theirs


@pytest.mark.parametrize("name", ["methods", "front"])
def test_the_committed_pages_are_of_this_model(tiny: Path, name: str) -> None:
    text = (REPOSITORY / "docs" / "results" / f"{name}.md").read_text("utf-8")
    if MISSING not in text:
        assert f"tiny ({Checkpoint.open(tiny).source_hash()[:12]})" in text


def test_plots_are_drawings_with_every_method() -> None:
    layers, methods, bits = by_layer(ROWS), by_method(ROWS), by_bits(ROWS)
    for svg in (layers, methods, bits):
        assert svg.startswith("<?xml")
        assert svg.endswith("</svg>\n")
    assert "bitsandbytes NF4" in layers
    assert "int4/32 gptq (4.50)" in methods
    assert by_bits(ROWS) == bits
