"""Signals whose distance, floor and pauses are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flowvox.eval.spectrum import log_mel_distance_db, stft_distance
from flowvox.eval.waveform import (
    LIMIT_DB,
    RATE,
    clipped_share,
    frame_levels,
    is_silent,
    longest_inner_silence,
    noise_floor_dbfs,
    non_finite_count,
    quiet_frames,
    si_sdr_db,
    snr_db,
)

Samples = NDArray[np.float32]
Comparison = Callable[[Samples, Samples], float | None]
ZERO = np.zeros(RATE, dtype=np.float32)
COMPARISONS: list[Comparison] = [
    snr_db,
    si_sdr_db,
    noise_floor_dbfs,
    log_mel_distance_db,
    stft_distance,
]


def tone(seconds: float, amplitude: float = 0.5) -> Samples:
    """200 Hz."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def hiss(seconds: float, dbfs: float, seed: int = 0) -> Samples:
    """White noise of exactly this level."""
    white = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (white / np.sqrt(np.mean(white**2)) * 10 ** (dbfs / 20)).astype(np.float32)


def pause(seconds: float) -> Samples:
    """Digital silence."""
    return np.zeros(round(seconds * RATE), dtype=np.float32)


@given(st.floats(-40, 80), st.integers(0, 99))
def test_snr_is_the_level_above_the_noise(ratio: float, seed: int) -> None:
    signal = hiss(0.2, -20, seed)
    noisy = signal + hiss(0.2, -20 - ratio, seed + 100)
    assert snr_db(signal, noisy) == pytest.approx(ratio, abs=0.01)


@given(st.floats(1e-3, 1e3), st.sampled_from([-1.0, 1.0]))
def test_si_sdr_does_not_care_about_volume(gain: float, sign: float) -> None:
    signal = tone(0.2)
    noisy = signal + hiss(0.2, -30)
    scaled = (noisy * np.float32(sign * gain)).astype(np.float32)
    assert si_sdr_db(signal, scaled) == pytest.approx(si_sdr_db(signal, noisy), abs=0.01)
    assert snr_db(signal, noisy) == pytest.approx(si_sdr_db(signal, noisy), abs=0.2)


def test_half_the_volume_is_6_db_of_snr_and_no_loss_of_si_sdr() -> None:
    assert snr_db(tone(1), tone(1) / 2) == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert si_sdr_db(tone(1), tone(1) / 2) == LIMIT_DB


@pytest.mark.parametrize(
    ("reference", "candidate", "snr", "si_sdr"),
    [
        (tone(1), tone(1), LIMIT_DB, LIMIT_DB),
        (ZERO, ZERO, LIMIT_DB, LIMIT_DB),
        (ZERO, tone(1), -LIMIT_DB, -LIMIT_DB),
        (tone(1), ZERO, 0.0, -LIMIT_DB),
        (ZERO[:0], ZERO[:0], LIMIT_DB, LIMIT_DB),
    ],
)
def test_silence_has_its_rules(
    reference: Samples, candidate: Samples, snr: float, si_sdr: float
) -> None:
    assert snr_db(reference, candidate) == pytest.approx(snr)
    assert si_sdr_db(reference, candidate) == pytest.approx(si_sdr)


@given(st.integers(0, 99), st.floats(-60, -30), st.floats(3, 30))
def test_more_noise_is_worse_everywhere(seed: int, level: float, louder: float) -> None:
    signal = np.concatenate([tone(0.3), pause(0.2), tone(0.3)])
    little, more = (
        signal + hiss(0.8, dbfs, seed) * (np.arange(len(signal)) > 99)
        for dbfs in (level, level + louder)
    )
    assert snr_db(signal, little) > snr_db(signal, more)
    assert si_sdr_db(signal, little) > si_sdr_db(signal, more)
    assert log_mel_distance_db(signal, little) < log_mel_distance_db(signal, more)
    assert stft_distance(signal, little) < stft_distance(signal, more)
    floors = [noise_floor_dbfs(signal, noisy) for noisy in (little, more)]
    assert None not in floors
    assert floors == sorted(floors)


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_nothing_is_near_or_far_from_what_is_no_number(
    compare: Comparison, bad: float, place: int
) -> None:
    pair = [tone(0.5), tone(0.5)]
    pair[place][1234] = bad
    answer = compare(*pair)
    assert answer is not None
    assert np.isnan(answer)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_only_aligned_signals_are_compared(compare: Comparison) -> None:
    with pytest.raises(ValueError, match="not aligned"):
        compare(tone(0.5), tone(0.4))


def test_levels_are_rms_per_20_ms() -> None:
    levels = frame_levels(np.concatenate([tone(0.1, 1.0), pause(0.1), tone(0.01)]))
    assert levels[:5] == pytest.approx([-3.01] * 5, abs=0.01)
    assert levels[5:] == pytest.approx([-LIMIT_DB] * 5)


@given(st.floats(-90, -45))
def test_noise_floor_is_the_candidates_level_in_the_references_pauses(dbfs: float) -> None:
    reference = np.concatenate([tone(0.5), pause(0.5), tone(0.5)])
    candidate = reference + hiss(1.5, dbfs)
    assert noise_floor_dbfs(reference, candidate) == pytest.approx(dbfs, abs=0.5)
    assert noise_floor_dbfs(reference, reference) == -LIMIT_DB


def test_no_floor_without_a_pause() -> None:
    assert noise_floor_dbfs(tone(1), tone(1)) is None
    short = np.concatenate([tone(0.5), pause(0.06), tone(0.5)])
    assert noise_floor_dbfs(short, short) is None
    assert noise_floor_dbfs(ZERO[:0], ZERO[:0]) is None


def test_only_pauses_between_sounds_are_inner() -> None:
    inner = np.concatenate([pause(2), tone(0.5), pause(0.7), tone(0.5), pause(0.3), tone(0.5)])
    assert longest_inner_silence(np.concatenate([inner, pause(3)])) == pytest.approx(0.7, abs=0.021)
    assert longest_inner_silence(np.concatenate([pause(1), tone(1), pause(1)])) == 0
    assert longest_inner_silence(ZERO) == 0
    assert longest_inner_silence(ZERO[:0]) == 0


def test_a_soft_voice_has_pauses_too() -> None:
    soft = np.concatenate([tone(0.5, 0.005), pause(0.5), tone(0.5, 0.005)])
    assert list(quiet_frames(soft)) == [False] * 25 + [True] * 25 + [False] * 25


def test_clipping_is_counted_from_the_last_16_bit_step() -> None:
    samples = np.array([0.5, 1.0, -1.0, 1.5, 32766 / 32768, np.inf, np.nan, 0], dtype=np.float32)
    assert clipped_share(samples) == 4 / 8
    assert non_finite_count(samples) == 2
    assert clipped_share(ZERO[:0]) == non_finite_count(ZERO[:0]) == 0


def test_silent_is_what_nobody_hears() -> None:
    assert is_silent(ZERO)
    assert is_silent(ZERO[:0])
    assert is_silent(tone(0.1, 0.0009))
    assert not is_silent(tone(0.1, 0.0011))
    assert not is_silent(np.array([0, np.nan], dtype=np.float32))
