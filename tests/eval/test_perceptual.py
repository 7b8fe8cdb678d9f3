"""PESQ and STOI on speech, noise, silence and very long audio."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from flowvox.eval.perceptual import WORST_PESQ, WORST_STOI, pesq_wideband, stoi

pytest.importorskip("pesq", reason="needs flowvox[eval]")
pytest.importorskip("pystoi", reason="needs flowvox[eval]")

Samples = NDArray[np.float32]
Metric = Callable[[Samples, Samples, int], float | None]
RATE = 24000
BOTH = pytest.mark.parametrize("metric", [pesq_wideband, stoi])


def test_nothing_lost_has_the_best_score(speech: Samples) -> None:
    assert pesq_wideband(speech, speech, RATE) == pytest.approx(4.644, abs=1e-3)
    assert stoi(speech, speech, RATE) == pytest.approx(1, abs=1e-6)


@BOTH
def test_more_noise_is_worse(metric: Metric, speech: Samples, noise: Samples) -> None:
    gains = (0.001, 0.01, 0.1, 1)
    scores = [metric(speech, speech + np.float32(gain) * noise, RATE) for gain in gains]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(gains)


@BOTH
def test_a_reference_without_speech_has_no_score(metric: Metric, speech: Samples) -> None:
    nothing = np.zeros_like(speech)
    assert metric(nothing, speech, RATE) is None
    assert metric(nothing, nothing, RATE) is None
    assert metric(speech[:0], speech[:0], RATE) is None
    middle = speech[12000:12240]
    assert metric(middle, middle, RATE) is None


def test_a_silent_candidate_has_the_worst_score(speech: Samples) -> None:
    assert pesq_wideband(speech, np.zeros_like(speech), RATE) == WORST_PESQ
    assert stoi(speech, np.zeros_like(speech), RATE) == WORST_STOI


@BOTH
def test_nan_in_nan_out(metric: Metric, speech: Samples) -> None:
    broken = speech.copy()
    broken[100] = np.nan
    answer = metric(speech, broken, RATE)
    assert answer is not None
    assert np.isnan(answer)


def test_long_audio_is_judged_in_pieces(speech: Samples, noise: Samples) -> None:
    # beyond 50 utterances the C code writes outside its arrays and takes the process with it
    noisy = speech + np.float32(0.01) * noise
    long, long_noisy = np.tile(speech, 60), np.tile(noisy, 60)
    assert len(long) > 150 * RATE
    short = pesq_wideband(speech, noisy, RATE)
    assert pesq_wideband(long, long_noisy, RATE) == pytest.approx(short, abs=0.3)


def test_pieces_in_which_nobody_speaks_do_not_count(speech: Samples, noise: Samples) -> None:
    noisy = speech + np.float32(0.01) * noise
    pause = np.zeros(20 * RATE, dtype=np.float32)
    alone = np.pad(speech, (0, 10 * RATE - len(speech)))
    alone_noisy = np.pad(noisy, (0, 10 * RATE - len(noisy)))
    with_pause = pesq_wideband(
        np.concatenate([alone, pause]), np.concatenate([alone_noisy, pause]), RATE
    )
    assert with_pause == pytest.approx(pesq_wideband(alone, alone_noisy, RATE), abs=0.02)
