"""The free-running level: what a listener gets, one utterance at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from flowvox.eval.artifact import Floats, Spoken
from flowvox.eval.ears import Heard
from flowvox.eval.error_rate import character_errors, word_errors
from flowvox.eval.statistics import Rows
from flowvox.eval.suite_data import Utterance
from flowvox.eval.waveform import RATE, clipped_share, is_silent, longest_inner_silence

EARLY = 0.6  # of the baseline's length: what is shorter has lost words
LONG_SILENCE = 1.0  # seconds


def voice_centroid(heard: Iterable[tuple[Utterance, Heard]], utterance: Utterance) -> Floats | None:
    """Unit mean embedding of a voice saying *other* sentences; None if it has said none.

    With its own recording in the mean, the baseline would be nearer to itself than anything else is.
    """
    others = [
        ears.voice
        for said, ears in heard
        if said.voice == utterance.voice
        and said.sentence.id != utterance.sentence.id
        and ears.voice is not None
    ]
    if not others:
        return None
    mean = np.mean(others, axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def judge(
    text: str, speech: Spoken, baseline: Spoken, heard: Heard, voice: Floats | None
) -> dict[str, Rows]:
    """Rows of the free-running metrics; those that could not be had are left out."""
    samples = speech.samples
    rows: dict[str, Rows] = {
        "not_ended": _one(not speech.ended),
        "long_silence": _one(longest_inner_silence(samples) > LONG_SILENCE),
        "clipped": _one(clipped_share(samples) > 0),
        "silent": _one(is_silent(samples)),
    }
    rows |= lengths(speech, baseline)
    if heard.text is not None:
        for name, errors in (("wer", word_errors), ("cer", character_errors)):
            count = errors(text, heard.text)
            # At most all of it is wrong: a recognizer that loops would outweigh all other sentences.
            pair = min(count.errors, max(1, count.total)), max(1, count.total)
            rows[name] = np.array([pair], dtype=np.float64)
    if heard.voice is not None and voice is not None:
        rows["similarity"] = _one(float(heard.voice @ voice))
    return rows | {name: _one(score) for name, score in heard.opinions.items()}


def lengths(speech: Spoken, baseline: Spoken) -> dict[str, Rows]:
    """Rows that compare lengths; nothing if the baseline said nothing."""
    if not len(baseline.codes):
        return {}
    ratio = len(speech.codes) / len(baseline.codes)
    return {"duration_ratio": _one(ratio), "early_stop": _one(ratio < EARLY)}


def length_spread(spoken: dict[str, Spoken]) -> dict[str, Rows]:
    """Per text and voice that was spoken with several seeds: deviation of the length over its mean."""
    lengths: dict[str, list[int]] = {}
    for key, speech in spoken.items():
        lengths.setdefault(key.rpartition("/")[0], []).append(len(speech.codes))
    return {
        key: _one(float(np.std(found)) / max(1.0, float(np.mean(found))))
        for key, found in lengths.items()
        if len(found) > 1
    }


def describe(
    utterance: Utterance, speech: Spoken, heard: Heard, rows: dict[str, Rows]
) -> dict[str, Any]:
    """The utterance's line in the report (flowvox.eval.report.schema.Utterance)."""

    def rate(name: str) -> float | None:
        return float(rows[name][0, 0] / rows[name][0, 1]) if name in rows else None

    return {
        "id": utterance.sentence.id,
        "text": utterance.sentence.text,
        "voice": utterance.voice,
        "seed": utterance.seed,
        "wer": rate("wer"),
        "cer": rate("cer"),
        "similarity": float(rows["similarity"][0]) if "similarity" in rows else None,
        "mos": heard.opinions.get("mos"),
        "seconds": len(speech.samples) / RATE,
        "heard": heard.text,
        "ended": speech.ended,
        "audio": None,
        "spectrogram": None,
    }


def _one(value: float) -> Rows:
    return np.array([float(value)])
