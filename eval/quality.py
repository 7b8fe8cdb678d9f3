"""First listening test of bundles: word error rate and similarity to what the fp32 bundle says.

`python -m flowvox.eval.quality BUNDLE... --baseline BUNDLE --sentences FILE` prints a JSON document.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from flowvox.eval.recognizer import Whisper, word_error_rate
from flowvox.eval.speaker import SpeakerEmbedder, similarity
from flowvox.runtime.tts import TTS, Speech

MAX_SECONDS = 15.0
SHORTEST_EMBEDDED = 1.0  # seconds of speech below which a speaker embedding says nothing


def speak_all(bundle: Path, sentences: list[str], seeds: int) -> list[tuple[str, Speech]]:
    """Every sentence with every voice and seed."""
    tts = TTS.load(bundle)
    return [
        (text, tts.synthesize(text, voice, seed=seed, max_seconds=MAX_SECONDS))
        for voice in tts.voices
        for text in sentences
        for seed in range(seeds)
    ]


def measure(bundle: Path, baseline: Path, sentences: list[str], seeds: int) -> dict[str, Any]:
    """WER, share of ended utterances, similarity of each utterance to the baseline's."""
    whisper, embedder = Whisper(), SpeakerEmbedder()
    spoken = speak_all(bundle, sentences, seeds)
    compared = spoken if bundle == baseline else speak_all(baseline, sentences, seeds)
    said, heard, similar = [], [], []
    for (text, speech), (_, other) in zip(spoken, compared, strict=True):
        rate = speech.audio.sample_rate
        said.append(text)
        heard.append(whisper.transcribe(speech.audio.samples, rate) if len(speech.codes) else "")
        if min(speech.audio.seconds, other.audio.seconds) >= SHORTEST_EMBEDDED:
            vectors = [embedder.embed(s.audio.samples, rate) for s in (speech, other)]
            similar.append(similarity(*vectors))
    return {
        "bundle": str(bundle),
        "utterances": len(spoken),
        "wer": word_error_rate(said, heard),
        "similarity_to_baseline": float(np.mean(similar)) if similar else None,
        "ended": float(np.mean([speech.ended for _, speech in spoken])),
        "seconds": float(np.mean([speech.audio.seconds for _, speech in spoken])),
    }


def main() -> None:
    """Measure every bundle against the baseline."""
    parser = argparse.ArgumentParser(prog="flowvox.eval.quality")
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--sentences", type=Path, required=True, help="a text file, one a line")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    sentences = [
        line.strip() for line in arguments.sentences.read_text("utf-8").splitlines() if line.strip()
    ]
    rows = [measure(b, arguments.baseline, sentences, arguments.seeds) for b in arguments.bundles]
    print(json.dumps({"sentences": len(sentences), "seeds": arguments.seeds, "rows": rows}))


if __name__ == "__main__":
    main()
