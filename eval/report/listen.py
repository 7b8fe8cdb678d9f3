"""The utterances worth hearing: worst first, each beside the baseline's."""

from __future__ import annotations

import base64
import difflib
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.eval.report.schema import BundleReport, Utterance

SHOWN = 6  # pairs per bundle: audio is embedded, and a page should still open on a phone
WINDOW, HOP = 512, 128  # samples: 21 ms and 5 ms at 24 kHz
HIGHEST = 8000.0  # Hz: nearly all of speech
DECIBELS = (-120.0, -40.0)  # power spectral density, black to white: silence to loud vowels


@dataclass(frozen=True)
class Pair:
    """What a bundle said, and what the baseline said to the same request."""

    utterance: Utterance
    baseline: Utterance | None


@dataclass(frozen=True)
class Sound:
    """A recording as data URIs: the FLAC file itself, and its spectrogram (0 Hz at the bottom)."""

    audio: str
    spectrogram: str
    seconds: float


def worst(bundle: BundleReport, baseline: BundleReport | None) -> list[Pair]:
    """At most SHOWN pairs, by falling word error rate, then by rising speaker similarity."""

    def badness(utterance: Utterance) -> tuple[float, float]:
        rate, similarity = utterance["wer"], utterance["similarity"]
        return (
            math.inf if rate is None else -rate,
            math.inf if similarity is None else similarity,
        )

    others = {_request(u): u for u in baseline["utterances"]} if baseline else {}
    chosen = sorted(bundle["utterances"], key=badness)[:SHOWN]
    return [Pair(utterance, others.get(_request(utterance))) for utterance in chosen]


def load_sound(folder: Path, name: str | None) -> Sound | None:
    """A recording of the report's folder; None if it is not there, not inside, or unreadable."""
    import soundfile

    if name is None:
        return None
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        return None
    try:
        content = path.read_bytes()
        channels, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError):
        return None
    samples = channels.mean(axis=1)
    picture = _spectrogram(samples, rate) if len(samples) >= WINDOW else b""
    return Sound(
        audio=_data_uri("audio/flac", content),
        spectrogram=_data_uri("image/webp", picture) if picture else "",
        seconds=len(samples) / rate,
    )


def heard_words(text: str, heard: str) -> list[tuple[str, bool]]:
    """The words heard, each with whether it differs from what was to be said."""
    said, words = re.findall(r"\S+", text), re.findall(r"\S+", heard)
    matcher = difflib.SequenceMatcher(
        a=[_bare(w) for w in said], b=[_bare(w) for w in words], autojunk=False
    )
    same = {b + k for _, b, size in matcher.get_matching_blocks() for k in range(size)}
    return [(word, index not in same) for index, word in enumerate(words)]


def _request(utterance: Utterance) -> tuple[str, str, int]:
    return utterance["id"], utterance["voice"], utterance["seed"]


def _spectrogram(samples: NDArray[np.float32], rate: int) -> bytes:
    """float32 [samples] -> WebP, one column per HOP, one row per frequency up to HIGHEST."""
    from matplotlib import image, mlab

    power, _, _ = mlab.specgram(samples, NFFT=WINDOW, Fs=rate, noverlap=WINDOW - HOP)
    rows = 1 + int(HIGHEST * WINDOW / rate)
    decibels = 10 * np.log10(np.maximum(np.asarray(power)[:rows], 1e-20))
    low, high = DECIBELS
    file = io.BytesIO()
    options = {"quality": 70}
    image.imsave(
        file, decibels, vmin=low, vmax=high, cmap="magma", origin="lower", format="webp",
        pil_kwargs=options,
    )  # fmt: skip
    return file.getvalue()


def _bare(word: str) -> str:
    return re.sub(r"[^\w']", "", word.lower())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
