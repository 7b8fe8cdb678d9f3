"""Recordings: the worst utterances of each bundle and the baseline's, each under a name of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowvox.eval.artifact import Spoken
from flowvox.eval.measure import Measured
from flowvox.eval.recordings import save_recordings
from flowvox.eval.report.listen import SHOWN

soundfile = pytest.importorskip("soundfile")
RATE = 24000


def line(number: int, wer: float) -> dict[str, Any]:
    return {"id": f"s{number}", "voice": "heart", "seed": 0, "text": "Go.", "wer": wer, "similarity": None, "audio": None}  # fmt: skip


def bundle(path: str, *wers: float) -> dict[str, Any]:
    lines = [line(number, wer) for number, wer in enumerate(wers)]
    name = Path(path).name
    return {"name": name, "path": path, "is_baseline": name == "fp16", "utterances": lines}


def spoken(*levels: float) -> Measured:
    """An utterance for each level, constant samples."""
    return Measured(
        spoken={
            f"s{k}/heart/0": Spoken(np.zeros((5, 37), np.int32), np.full(9600, x, np.float32), True)
            for k, x in enumerate(levels)
        }
    )


def read(folder: Path, name: str) -> np.ndarray:
    samples, rate = soundfile.read(folder / name, dtype="float32")
    assert rate == RATE
    return samples


def test_the_worst_are_saved_as_pairs(tmp_path: Path) -> None:
    count = SHOWN + 2
    wers = [k / 10 for k in range(count)]
    base, ours = bundle("a/fp16", *[0.0] * count), bundle("a/int4", *wers)
    save_recordings(
        {"bundles": [base, ours]},
        {"a/fp16": spoken(*[0.25] * count), "a/int4": spoken(*[0.5] * count)},
        tmp_path,
    )
    saved = [entry["audio"] for entry in ours["utterances"]]
    assert saved[:2] == [None, None]
    for number in range(2, count):
        assert read(tmp_path, saved[number]).mean() == pytest.approx(0.5, abs=1e-4)
        other = base["utterances"][number]["audio"]
        assert read(tmp_path, other).mean() == pytest.approx(0.25, abs=1e-4)


def test_bundles_of_the_same_name_keep_their_own(tmp_path: Path) -> None:
    """release-1/int4 and release-2/int4, as a comparison of two releases would name them."""
    bundles = [bundle("fp16", 0.0), bundle("1/int4", 0.1), bundle("2/int4", 0.2)]
    levels = {"fp16": spoken(0.1), "1/int4": spoken(0.2), "2/int4": spoken(0.3)}
    save_recordings({"bundles": bundles}, levels, tmp_path)
    found = [read(tmp_path, b["utterances"][0]["audio"]).mean() for b in bundles]
    assert found == pytest.approx([0.1, 0.2, 0.3], abs=1e-4)


def test_what_does_not_exist_is_not_named(tmp_path: Path) -> None:
    base, ours = bundle("fp16"), bundle("int4", 0.5, 0.6, 0.7)
    measured = spoken(0.1, np.nan)
    measured.spoken["s2/heart/0"] = Spoken(
        np.zeros((0, 37), np.int32), np.zeros(0, np.float32), True
    )
    save_recordings({"bundles": [base, ours]}, {"fp16": Measured(), "int4": measured}, tmp_path)
    first, nan, silent = (entry["audio"] for entry in ours["utterances"])
    assert first is not None
    assert not read(tmp_path, nan).any()  # a player gets silence, not NaN
    assert silent is None


def test_beyond_full_scale_is_cut_not_wrapped(tmp_path: Path) -> None:
    base, ours = bundle("fp16", 0.0), bundle("int4", 0.0)
    save_recordings({"bundles": [base, ours]}, {"fp16": spoken(0.5), "int4": spoken(1.7)}, tmp_path)
    assert read(tmp_path, ours["utterances"][0]["audio"]).min() > 0.99
