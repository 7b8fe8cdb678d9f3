"""The codec level: what is worse about a waveform shows in the metric that is about it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.eval.faults import DEAF

from flowvox.eval.codec_level import compare
from flowvox.eval.ears import Ears

RATE = 24000
PERFECT = {"codec_nonfinite": 0, "codec_snr": 120, "codec_si_sdr": 120, "codec_log_mel": 0,
           "codec_stft": 0, "codec_clipped": 0, "codec_silence": 0}  # fmt: skip


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    """Half a second of tone, as much silence, tone again."""
    time = np.arange(RATE // 2) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 220 * time)
    return np.concatenate([tone, 0 * tone, tone]).astype(np.float32)


def figures(reference: np.ndarray, candidate: np.ndarray) -> dict[str, float]:
    rows = compare(reference, candidate, DEAF)
    assert all(row.shape == (1,) for row in rows.values())
    return {name: float(row[0]) for name, row in rows.items()}


def test_the_same_waveform_is_perfect(talk: np.ndarray) -> None:
    assert figures(talk, talk) == PERFECT


def test_hiss_is_heard_in_the_silences(talk: np.ndarray) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.003, len(talk)).astype(np.float32)
    found = figures(talk, talk + hiss)
    assert found["codec_silence"] == pytest.approx(
        120 - 50.5, abs=1
    )  # of -50.5 dBFS where was none
    assert found["codec_snr"] == pytest.approx(20 * np.log10(np.sqrt(2 / 3) * 0.3 / np.sqrt(2) / 0.003), abs=0.2)  # fmt: skip
    assert found["codec_log_mel"] > 3
    assert found["codec_clipped"] == 0


def test_volume_is_no_distortion_to_si_sdr(talk: np.ndarray) -> None:
    found = figures(talk, talk / 2)
    assert found["codec_snr"] == pytest.approx(6.02, abs=0.01)
    assert found["codec_si_sdr"] > 100


def test_clipping_beyond_the_baselines(talk: np.ndarray) -> None:
    loud = np.clip(talk * 10, -1, 1)
    assert figures(talk, loud)["codec_clipped"] > 0.3
    assert figures(loud, loud)["codec_clipped"] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_leave_nothing_else_to_say(
    talk: np.ndarray, bad: float
) -> None:
    broken = talk.copy()
    broken[100:136] = bad
    assert figures(talk, broken) == {"codec_nonfinite": pytest.approx(36 / len(talk))}


def test_without_a_pause_there_is_no_floor(talk: np.ndarray) -> None:
    speech = talk[: RATE // 2]
    found = figures(speech, speech)
    assert found == {name: value for name, value in PERFECT.items() if name != "codec_silence"}


def test_pesq_and_stoi_where_their_packages_are(
    speech: np.ndarray, noise: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    ears = Ears(None, None, {}, {})
    clean, noisy = (compare(speech, x, ears) for x in (speech, speech + noise / 3))
    for name in ("codec_pesq", "codec_stoi"):
        assert noisy[name][0] < clean[name][0]
    monkeypatch.setitem(sys.modules, "pesq", None)
    missing = Ears.open().missing
    assert missing["codec_pesq"].startswith("install ")
    rows = compare(speech, speech, Ears(None, None, {}, missing))
    assert "codec_pesq" not in rows
    assert "codec_stoi" in rows
