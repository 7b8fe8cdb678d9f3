"""First listening test of bundles: word error rate and similarity to what the fp32 bundle says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flowvox.eval.error_rate import word_error_rate
from flowvox.eval.recognizer import Whisper
from flowvox.eval.speaker import SHORTEST_SECONDS, Resemblyzer, similarity
from flowvox.runtime.speech import Speech
from flowvox.runtime.tts import TTS

MAX_SECONDS = 12.0

Request = tuple[str, str, int]  # text, voice, seed


def speak_all(bundle: Path, requests: list[Request]) -> list[Speech]:
    """One utterance per request, in order."""
    tts = TTS.load(bundle)
    return [
        tts.synthesize(text, voice, seed=seed, max_seconds=MAX_SECONDS)
        for text, voice, seed in requests
    ]


def measure(
    spoken: list[Speech], baseline: list[Speech], requests: list[Request]
) -> dict[str, Any]:
    """WER over all requests, share of ended utterances, mean similarity to the baseline's speech."""
    whisper, embedder = Whisper(), Resemblyzer()
    heard, similar = [], []
    for speech, other in zip(spoken, baseline, strict=True):
        rate = speech.audio.sample_rate
        heard.append(whisper.transcribe(speech.audio.samples, rate) if len(speech.codes) else "")
        if min(speech.audio.seconds, other.audio.seconds) >= SHORTEST_SECONDS:
            vectors = [embedder.embed(s.audio.samples, rate) for s in (speech, other)]
            similar.append(similarity(*vectors))
    return {
        "utterances": len(requests),
        "wer": word_error_rate([text for text, _, _ in requests], heard),
        "similarity_to_baseline": float(np.mean(similar)) if similar else None,
        "compared": len(similar),
        "ended": float(np.mean([speech.ended for speech in spoken])),
        "seconds": float(np.mean([speech.audio.seconds for speech in spoken])),
    }
