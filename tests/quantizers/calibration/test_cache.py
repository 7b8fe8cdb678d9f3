"""Calibration is made once per checkpoint; damage and other settings make it anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowvox.errors import OutputError, VoiceError
from flowvox.quantizers.calibration import cache, record
from flowvox.quantizers.calibration.cache import calibrate
from flowvox.reference.checkpoint import Checkpoint

MATRIX = "layers.0.attention.wq.weight"


@pytest.fixture
def made(random_micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    monkeypatch.setattr(cache, "UTTERANCES", 2)
    monkeypatch.setattr(cache, "MAX_FRAMES", 3)
    source = Checkpoint.open(random_micro)
    calibrate(source, "hash", folder=tmp_path)
    return source


def fails(*args: Any) -> None:
    raise AssertionError("calibrated again")


def test_the_second_time_it_is_read(
    made: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_make", fails)
    statistics = calibrate(made, "hash", folder=tmp_path)(MATRIX)
    hessian = statistics.hessian()
    assert hessian.shape == (40, 40)
    assert np.linalg.eigvalsh(hessian.astype(np.float64)).min() > -1e-4 * np.trace(hessian)
    with pytest.raises(AssertionError, match="again"):
        calibrate(made, "another checkpoint", folder=tmp_path)
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="again"):
        patch.setattr(Checkpoint, "voices", lambda self: {"first": 0, "another": 1})
        calibrate(made, "hash", folder=tmp_path)
    monkeypatch.setattr(cache, "MAX_FRAMES", 4)
    with pytest.raises(AssertionError, match="again"):
        calibrate(made, "hash", folder=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damage_is_seen_and_mended(made: Checkpoint, tmp_path: Path, damage: str) -> None:
    found = calibrate(made, "hash", folder=tmp_path)
    before = found(MATRIX).hessian()
    file = found.file("layers.0.attention.input")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    again = calibrate(made, "hash", folder=tmp_path)
    np.testing.assert_array_equal(again(MATRIX).hessian(), before)


def test_matrices_of_a_site_share_what_is_computed(made: Checkpoint, tmp_path: Path) -> None:
    found = calibrate(made, "hash", folder=tmp_path)
    q, k = found(MATRIX), found(MATRIX.replace("wq", "wk"))
    assert q is k
    assert q.feedback() is k.feedback()
    assert found(MATRIX.replace("wq", "wo")) is not q


def test_a_full_disk_is_named_before_the_work(
    made: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="FLOWVOX_CACHE"):
        calibrate(made, "other", folder=tmp_path)


def test_a_model_without_voices_cannot_speak(
    made: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "voices", lambda self: {})
    with pytest.raises(VoiceError, match="no voices"):
        calibrate(made, "other", folder=tmp_path)


def test_an_interrupted_calibration_does_not_speak_again(
    made: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = calibrate(made, "hash", folder=tmp_path)
    before = found(MATRIX).hessian()
    found.file("layers.0.attention.input").unlink()
    monkeypatch.setattr(record, "speak", fails)
    np.testing.assert_array_equal(
        calibrate(made, "hash", folder=tmp_path)(MATRIX).hessian(), before
    )
    found.file("layers.0.attention.input").unlink()
    (found.folder / cache.SPEECH).write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="again"):
        calibrate(made, "hash", folder=tmp_path)
