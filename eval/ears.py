"""The models that listen: recognizer, speaker embedder, opinion models, PESQ and STOI.

Each needs packages of the `eval` extra; what is missing disables its metrics visibly (`missing`).
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flowvox.eval import error_rate, perceptual
from flowvox.eval.artifact import Floats
from flowvox.eval.cache import Arrays, Cache
from flowvox.eval.naturalness import DNSMOS, DistillMOS, NaturalnessModel
from flowvox.eval.recognizer import Recognizer, Whisper
from flowvox.eval.speaker import SHORTEST_SECONDS, Resemblyzer, SpeakerEmbedder
from flowvox.eval.waveform import RATE

OPINIONS = {"mos": "distillmos", "dnsmos": "dnsmos_ovrl"}  # metric -> key of the model's answer


@dataclass(frozen=True)
class Heard:
    """What was heard in one utterance; None: not measured, or not defined for it."""

    text: str | None = None
    voice: Floats | None = None
    opinions: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ears:
    """missing: metric -> why it is not measured here."""

    recognizer: Recognizer | None
    speaker: SpeakerEmbedder | None
    opinions: dict[str, NaturalnessModel]
    missing: dict[str, str]

    @classmethod
    def open(cls, recognizer: Path | None = None, threads: int = 1) -> Ears:
        """Every model whose packages are here. recognizer: folder of another faster-whisper model."""
        missing: dict[str, str] = {}

        def note(reason: str | None, *metrics: str) -> bool:
            missing.update(dict.fromkeys(metrics, reason) if reason else {})
            return reason is None

        hears = note(error_rate.unavailable() or Whisper.unavailable(recognizer), "wer", "cer")
        knows = note(Resemblyzer.unavailable(), "similarity")
        note(perceptual.pesq_unavailable(), "codec_pesq")
        note(perceptual.stoi_unavailable(), "codec_stoi")
        models: dict[str, Any] = {"mos": DistillMOS, "dnsmos": DNSMOS}
        return cls(
            Whisper(recognizer, threads) if hears else None,
            Resemblyzer() if knows else None,
            {name: model() for name, model in models.items() if note(model.unavailable(), name)},
            missing,
        )

    @property
    def names(self) -> list[str]:
        """Who listens, for the report and for the keys of the cache."""
        models = [self.recognizer, self.speaker, *self.opinions.values()]
        return [model.name for model in models if model is not None]

    def listen(self, samples: Floats, cache: Cache) -> Heard:
        """Everything that can be heard in samples [n] at 24 kHz."""
        digest = hashlib.sha256(samples.tobytes()).hexdigest()
        stored = cache.arrays(("listen", digest, *self.names), lambda: self._listen(samples))
        return Heard(
            str(stored["text"]) if "text" in stored else None,
            stored.get("voice"),  # type: ignore[arg-type]
            {name: float(stored[name]) for name in OPINIONS if name in stored},
        )

    def _listen(self, samples: Floats) -> Arrays:
        """The recognizer takes about as long as the others together, so they listen side by side."""
        with ThreadPoolExecutor(max_workers=1) as beside:
            rest = beside.submit(self._judge, samples)
            text = self.recognizer.transcribe(samples, RATE) if self.recognizer else None
            found = rest.result()
        return found if text is None else found | {"text": np.array(text)}

    def _judge(self, samples: Floats) -> Arrays:
        found: Arrays = {}
        if self.speaker is not None and len(samples) >= SHORTEST_SECONDS * RATE:
            found["voice"] = self.speaker.embed(samples, RATE)
        for metric, model in self.opinions.items():
            score = model.score(samples, RATE)[OPINIONS[metric]]
            if np.isfinite(score):
                found[metric] = np.array(score)
        return found

    def compare(self, reference: Floats, candidate: Floats) -> dict[str, float | None]:
        """PESQ and STOI of two aligned waveforms at 24 kHz; None: not defined for them."""
        values: dict[str, float | None] = {}
        if "codec_pesq" not in self.missing:
            values["codec_pesq"] = perceptual.pesq_wideband(reference, candidate, RATE)
        if "codec_stoi" not in self.missing:
            values["codec_stoi"] = perceptual.stoi(reference, candidate, RATE)
        return values
