"""`flowvox bench BUNDLE...`: artifacts in turns, each in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvox.errors import FlowvoxError
from flowvox.eval import bench
from flowvox.eval.bench import run_bench

SENTENCES = ("Hello there.", "Good morning.")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MAX_SECONDS", 0.8)


def test_the_first_is_what_the_others_are_compared_with(micro_bundles: dict[str, Path]) -> None:
    paths = [micro_bundles["fp32"], micro_bundles["int4"]]
    told: list[tuple[int, int]] = []
    result = run_bench(
        paths, sentences=SENTENCES, rounds=2, threads=1, report=lambda *both: told.append(both)
    )
    first, second = result["runs"]
    assert [run["bundle"] for run in result["runs"]] == [str(path) for path in paths]
    assert first["speedup"] == 1
    ratio = first["rtf"]["median"] / second["rtf"]["median"]
    assert second["speedup"] == pytest.approx(ratio)
    assert {run["utterances"] for run in result["runs"]} == {4}, "the warm-up does not count"
    assert second["bytes"] < first["bytes"]
    assert told[-1] == (10, 10)
    for run in result["runs"]:
        assert set(run["ms_per_frame"]) == {"backbone", "flow", "codec"}
        assert 0 < run["rtf"]["median"] <= run["rtf"]["p95"]
        assert min(run["first_audio_seconds"], run["load_seconds"], run["peak_rss_bytes"]) > 0


def test_by_default_there_is_a_thread_for_each_core(
    micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As everywhere: hyper-threads and what a container may not use do not count."""
    monkeypatch.setattr(bench, "cores", lambda: 1)
    result = run_bench([micro_bundles["int4"]], sentences=SENTENCES[:1], rounds=1)
    assert result["machine"]["threads"] == 1


def test_what_does_not_load_is_named(tmp_path: Path) -> None:
    with pytest.raises(FlowvoxError, match=r"nothing: cannot be measured"):
        run_bench([tmp_path / "nothing"], rounds=1)
