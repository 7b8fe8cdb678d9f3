"""Gains whose spectral distance can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flowvox.eval.spectrum import log_mel_distance_db, stft_distance
from flowvox.eval.waveform import RATE

Samples = NDArray[np.float32]
Distance = Callable[[Samples, Samples], float]
ROUGH = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
ZERO = np.zeros(RATE, dtype=np.float32)


def scaled(samples: Samples, gain: float) -> Samples:
    return (samples * np.float32(gain)).astype(np.float32)


@given(st.floats(0.05, 20))
def test_log_mel_distance_of_a_gain_is_the_gain_in_db(gain: float) -> None:
    expected = abs(20 * np.log10(gain))
    assert log_mel_distance_db(ROUGH, scaled(ROUGH, gain)) == pytest.approx(expected, abs=1e-3)


def test_what_is_100_db_under_full_scale_is_the_same_nothing() -> None:
    assert log_mel_distance_db(ZERO, scaled(ROUGH, 1e-6)) == 0
    assert log_mel_distance_db(ZERO, scaled(ROUGH, 1e-3)) > 1


@given(st.floats(0.1, 1))
def test_stft_distance_of_a_gain(gain: float) -> None:
    # |1 - g| relative spectral error, |ln g| log difference, in every resolution; the few bins of noise
    # that fall under the power floor cost a little.
    expected = (1 - gain) - np.log(gain)
    assert stft_distance(ROUGH, scaled(ROUGH, gain)) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("distance", [log_mel_distance_db, stft_distance])
@pytest.mark.parametrize("samples", [ROUGH, ZERO, ZERO[:0], ROUGH[:1]])
def test_nothing_differs_from_itself(distance: Distance, samples: Samples) -> None:
    assert distance(samples, samples.copy()) == 0


@pytest.mark.parametrize("distance", [log_mel_distance_db, stft_distance])
def test_sound_against_silence_is_far_but_finite(distance: Distance) -> None:
    assert 1 < distance(ZERO, ROUGH) < np.inf
    assert 1 < distance(ROUGH, ZERO) < np.inf


def test_a_phase_that_turns_costs_nothing() -> None:
    assert log_mel_distance_db(ROUGH, -ROUGH) == stft_distance(ROUGH, -ROUGH) == 0
