"""What happened to a waveform, sample by sample: two aligned signals compared, and one by itself.

Samples are float32 [n] at 24 kHz, full scale 1.0; levels are dBFS = 20 log10(RMS), so a full-scale
square wave has 0 dBFS. Comparisons need equal lengths, which the same codes give. A waveform that
holds NaN or Inf has no distance from anything: comparisons answer NaN, `non_finite_count` counts them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 24000
LIMIT_DB = 120.0  # ratios stay within +-LIMIT_DB and levels above -LIMIT_DB, so that means exist
FRAME = RATE // 50  # 20 ms
QUIET_DB = 35.0  # a frame this far below the loud frames (their 95th percentile) is a pause
SILENT_DBFS = -60.0  # nobody hears a frame below this, whatever stands around it
SHORTEST_SILENCE = 5  # frames; a floor measured on less would be an accident
FULL_SCALE = 32767 / 32768  # from here on a 16-bit file cannot tell samples apart

Samples = NDArray[np.float32]


def comparable(reference: Samples, candidate: Samples) -> bool:
    """Whether both are finite. Raises ValueError unless both are 1-D and equally long."""
    if reference.ndim != 1 or reference.shape != candidate.shape:
        raise ValueError(f"not aligned: {reference.shape} against {candidate.shape} samples")
    return bool(np.isfinite(reference).all() and np.isfinite(candidate).all())


def snr_db(reference: Samples, candidate: Samples) -> float:
    """10 log10(sum r^2 / sum (c - r)^2), within +-LIMIT_DB.

    Equal signals, silence against silence included: LIMIT_DB. Sound against a silent reference:
    -LIMIT_DB. A silent candidate: 0.
    """
    if not comparable(reference, candidate):
        return float("nan")
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    return _ratio_db(float(r @ r), float((c - r) @ (c - r)))


def si_sdr_db(reference: Samples, candidate: Samples) -> float:
    """SNR after the best gain on the reference, within +-LIMIT_DB: a change of volume costs nothing.

    10 log10(|a r|^2 / |c - a r|^2), a = <c, r> / <r, r> (Le Roux et al. 2019, "SDR - half-baked or well
    done?"). Silence against silence: LIMIT_DB. Only one of the two silent: -LIMIT_DB.
    """
    if not comparable(reference, candidate):
        return float("nan")
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    energy, product = float(r @ r), float(c @ r)
    if energy == 0 or not c.any():
        return LIMIT_DB if energy == 0 and not c.any() else -LIMIT_DB
    scaled = product / energy * r
    return _ratio_db(float(scaled @ scaled), float((c - scaled) @ (c - scaled)))


def _ratio_db(signal: float, noise: float) -> float:
    if noise == 0:
        return LIMIT_DB
    if signal == 0:
        return -LIMIT_DB
    return float(np.clip(10 * (np.log10(signal) - np.log10(noise)), -LIMIT_DB, LIMIT_DB))


def frame_levels(samples: Samples) -> NDArray[np.float64]:
    """dBFS of each whole 20 ms frame [n // FRAME], not below -LIMIT_DB."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    return 10 * np.log10(np.maximum((frames**2).mean(axis=1), 10 ** (-LIMIT_DB / 10)))


def quiet_frames(samples: Samples) -> NDArray[np.bool_]:
    """Which frames are pauses: QUIET_DB below the loud ones, or below SILENT_DBFS."""
    levels = frame_levels(samples)
    if not len(levels):
        return np.zeros(0, dtype=np.bool_)
    return levels < max(float(np.percentile(levels, 95)) - QUIET_DB, SILENT_DBFS)


def noise_floor_dbfs(reference: Samples, candidate: Samples) -> float | None:
    """Median level of the candidate's frames where the reference pauses; None if it never does.

    With the reference as its own candidate this is the reference's floor.
    """
    if not comparable(reference, candidate):
        return float("nan")
    quiet = quiet_frames(reference)
    if quiet.sum() < SHORTEST_SILENCE:
        return None
    return float(np.median(frame_levels(candidate)[quiet]))


def longest_inner_silence(samples: Samples) -> float:
    """Seconds of the longest pause between the first and the last sound; 0 without one."""
    loud = np.flatnonzero(~quiet_frames(samples))
    gaps = np.diff(loud) - 1
    return float(gaps.max(initial=0) * FRAME / RATE)


def clipped_share(samples: Samples) -> float:
    """Share of samples at or beyond full scale; 0 for no samples. NaN does not count."""
    return float(np.mean(np.abs(samples) >= FULL_SCALE)) if len(samples) else 0.0


def non_finite_count(samples: Samples) -> int:
    """How many samples are NaN or infinite."""
    return int(np.count_nonzero(~np.isfinite(samples)))


def is_silent(samples: Samples) -> bool:
    """Whether no sample reaches SILENT_DBFS (0.001); true for no samples. NaN is not silence."""
    return bool((np.abs(samples) < 10 ** (SILENT_DBFS / 20)).all())
