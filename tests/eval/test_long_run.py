"""`flowvox bench --long`: one long utterance, then many short ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowvox.eval import long_run as module
from flowvox.eval.long_run import long_run


def test_what_grows_is_told(micro_bundles: dict[str, Path]) -> None:
    told: list[tuple[int, int]] = []
    result = long_run(
        micro_bundles["fp32"], seconds=2, utterances=3, threads=1,
        report=lambda *both: told.append(both),
    )  # fmt: skip
    one, many = result["one"], result["many"]
    assert one["frames"] == pytest.approx(25, abs=1)
    assert one["drift"]["end"] < 1e-4
    assert 0 < one["prompt_seconds"] < one["first_audio_seconds"]
    assert all(ms > 0 for ms in one["ms_per_frame"].values())
    assert many["utterances"] == 3
    if sys.platform == "linux":
        assert one["anonymous_bytes"] > 0
        assert many["grown_bytes"] < 50 << 20
    assert told[-1] == (4, 4)


def test_a_leak_shows(micro_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Were 1 MB left behind by each utterance, the growth after the warm-up would say so."""
    marks = iter(range(0, 100 << 20, 1 << 20))
    monkeypatch.setattr(module, "_anonymous", lambda: next(marks))
    result = long_run(micro_bundles["fp32"], seconds=1, utterances=8, threads=1)
    assert result["one"]["grown_bytes"] == 1 << 20
    assert result["many"]["grown_bytes"] == (8 - module.WARM_UP) << 20
