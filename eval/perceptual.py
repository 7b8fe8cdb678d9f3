"""PESQ and STOI of two aligned waveforms: what an ear would make of the difference.

Thin layers over PyPI's `pesq` (the ITU's own C code) and `pystoi`. Both need speech in the reference:
None where there is none, or too little. NaN where either waveform holds NaN or Inf.
"""

from __future__ import annotations

import warnings

import numpy as np

from flowvox.eval.packages import missing, require
from flowvox.eval.waveform import Samples, comparable, is_silent

PESQ_RATE = 16000
LONGEST_PIECE = 10 * PESQ_RATE  # P.862 wants 8 to 12 s, and the C code crashes beyond 50 utterances
WORST_PESQ, WORST_STOI = 1.0, 0.0


def pesq_unavailable() -> str | None:
    """Why PESQ cannot be measured here, or None."""
    return missing("pesq", "soxr")


def stoi_unavailable() -> str | None:
    """Why STOI cannot be measured here, or None."""
    return missing("pystoi")


def pesq_wideband(reference: Samples, candidate: Samples, rate: int) -> float | None:
    """PESQ P.862.2 (wideband, at 16 kHz), 1 to 4.64, mean over equal pieces of at most 10 s.

    Pieces in which the reference does not speak do not count. A piece of a silent candidate has
    WORST_PESQ, where the package fails. Raises MissingPackageError without the eval extra.
    """
    require("PESQ", pesq_unavailable())
    import soxr
    from pesq import BufferTooShortError, NoUtterancesError, pesq

    if not comparable(reference, candidate):
        return float("nan")
    waves = [soxr.resample(x, rate, PESQ_RATE).astype(np.float32) for x in (reference, candidate)]
    count = max(1, -(-len(waves[0]) // LONGEST_PIECE))
    scores = []
    for r, c in zip(*(np.array_split(wave, count) for wave in waves), strict=True):
        if is_silent(r):
            continue
        try:
            scores.append(WORST_PESQ if is_silent(c) else float(pesq(PESQ_RATE, r, c, "wb")))
        except (BufferTooShortError, NoUtterancesError):
            continue
    return float(np.mean(scores)) if scores else None


def stoi(reference: Samples, candidate: Samples, rate: int) -> float | None:
    """Short-time objective intelligibility (Taal et al. 2011), about 0 to 1.

    None below 0.4 s of speech. A silent candidate has WORST_STOI. Raises MissingPackageError without
    the eval extra.
    """
    require("STOI", stoi_unavailable())
    import pystoi

    if not comparable(reference, candidate):
        return float("nan")
    if is_silent(reference):
        return None
    if is_silent(candidate):
        return WORST_STOI
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, candidate, rate))
        except (RuntimeWarning, np.exceptions.AxisError):  # the latter below one frame
            return None
