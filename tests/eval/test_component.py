"""Storage formats timed without a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.conftest import micro_params

from flowvox.config import ModelConfig
from flowvox.eval import component
from flowvox.eval.component import CANDIDATES, bench_component, interleave, recipe_of, recipes_like
from flowvox.reference.random_checkpoint import load_shape


@pytest.mark.parametrize(
    ("part", "count"), [("flow", len(CANDIDATES)), ("backbone", len(CANDIDATES) - 1)]
)
def test_every_format_is_timed_and_the_quickest_named(
    part: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component, "ROUNDS", 3)
    monkeypatch.setattr("flowvox.eval.probe.STREAM_BYTES", 1 << 20)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = ModelConfig.from_dict(micro_params())
    result = bench_component(part, config, threads=1)
    rows = result["candidates"]
    assert len(rows) == count
    assert [row["relative"] for row in rows] == sorted(row["relative"] for row in rows)
    assert (rows[0]["relative"], rows[0]["format"]) == (1, result["winner"])
    assert result["machine"]["read_gb_per_s"] > 0
    assert all(row["ms_per_frame"] > 0 and row["bytes"] > 0 for row in rows)
    size = {row["format"]: row["bytes"] for row in rows}
    assert size["int4"] < size["w8a8"] < size["int8"] < size["float16"]
    assert os.listdir(tmp_path) == []


def test_layers_that_were_not_measured_are_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """26 layers of the tiny shape take what 26/3 times the measured three take."""
    monkeypatch.setattr("flowvox.eval.probe.STREAM_BYTES", 1 << 20)
    monkeypatch.setattr(component, "interleave", lambda frames: [[0.003], [0.006]])
    params = load_shape("tiny") | {"n_layers": 26}
    result = bench_component("backbone", ModelConfig.from_dict(params), threads=1)
    assert result["layers"] == {"measured": 3, "of": 26}
    times = {row["format"]: row["ms_per_frame"] for row in result["candidates"]}
    assert times.pop("int4") == 26.0
    assert set(times.values()) == {52.0}


def test_runs_take_turns() -> None:
    order: list[str] = []
    times = interleave([lambda: order.append("a"), lambda: order.append("b")])
    assert [len(found) for found in times] == [component.ROUNDS] * 2
    turns = order[2 * component.WARM_UP :]
    assert turns == ["a", "b"] * component.ROUNDS


def test_a_format_names_the_recipes_that_ship_it() -> None:
    assert "int4-cpu" in recipes_like(recipe_of("w8a8", "w8a8"), "flow")
    assert {"int4", "int4-best"} <= set(recipes_like(recipe_of("int4", "float16"), "flow"))
    assert "fp16" in recipes_like(recipe_of("float16", "float16"), "flow")
    assert "int4-vnni" in recipes_like(recipe_of("int4", "float16", 128), "backbone")
    assert recipes_like(recipe_of("int4", "float16", 64), "flow") == [
        "int4-vnni",
        "int4-vnni-best",
    ]
    assert {"int4", "int4-cpu", "int4-gpu"} <= set(
        recipes_like(recipe_of("int4", "float16"), "backbone")
    )
