"""The codec level: the same codes decoded by the baseline and by a bundle."""

from __future__ import annotations

import numpy as np

from flowvox.eval.artifact import Floats
from flowvox.eval.ears import Ears
from flowvox.eval.spectrum import log_mel_distance_db, stft_distance
from flowvox.eval.statistics import Rows
from flowvox.eval.waveform import (
    clipped_share,
    noise_floor_dbfs,
    non_finite_count,
    si_sdr_db,
    snr_db,
)


def compare(reference: Floats, candidate: Floats, ears: Ears) -> dict[str, Rows]:
    """Rows of the codec metrics; samples [n] both. What is not defined for a pair is left out."""
    bad = non_finite_count(candidate) / max(1, len(candidate))
    values: dict[str, float | None] = {"codec_nonfinite": bad}
    if bad == 0:
        floors = [noise_floor_dbfs(reference, x) for x in (candidate, reference)]
        values |= {
            "codec_snr": snr_db(reference, candidate),
            "codec_si_sdr": si_sdr_db(reference, candidate),
            "codec_log_mel": log_mel_distance_db(reference, candidate),
            "codec_stft": stft_distance(reference, candidate),
            "codec_clipped": clipped_share(candidate) - clipped_share(reference),
            "codec_silence": None if None in floors else floors[0] - floors[1],  # type: ignore[operator]
        }
        values |= ears.compare(reference, candidate)
    return {name: np.array([value]) for name, value in values.items() if value is not None}
