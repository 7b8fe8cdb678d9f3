"""One artifact in a process of its own: load it, then speak on request and report times.

Protocol: a JSON line on stdin asks ({"text", "voice", "seed", "max_seconds"}), one on stdout answers.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from flowvox.machine import peak_rss_bytes


def main() -> None:
    """`python -m flowvox.eval.bench_worker PATH THREADS`."""
    path, threads = Path(sys.argv[1]), int(sys.argv[2])
    started = time.perf_counter()
    speaker = (
        _Bundle(path, threads) if (path / "manifest.json").exists() else _Reference(path, threads)
    )
    ready = {"load_seconds": time.perf_counter() - started, "voices": speaker.voices}
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        answer = speaker.say(**json.loads(line))
        answer["peak_rss_bytes"] = peak_rss_bytes()
        print(json.dumps(answer), flush=True)


class _Bundle:
    """The runtime. Hashing is left out of the load time: it is a choice of the caller."""

    def __init__(self, path: Path, threads: int) -> None:
        from flowvox.runtime.tts import TTS

        self._tts = TTS.load(path, threads=threads, verify=False)
        self.voices = self._tts.voices

    def say(self, text: str, voice: str, seed: int, max_seconds: float) -> dict[str, Any]:
        speech = self._tts.synthesize(text, voice, seed=seed, max_seconds=max_seconds)
        times = speech.times
        stages = {"backbone": times.backbone, "flow": times.flow, "codec": times.codec}
        return {
            "audio_seconds": speech.audio.seconds,
            "compute_seconds": speech.compute_seconds,
            "first_audio_seconds": speech.first_audio_seconds,
            "frames": times.frames,
            "stages": stages,
        }


class _Reference:
    """The torch reference, for comparison; it has no streaming, so audio comes at the end."""

    def __init__(self, path: Path, threads: int) -> None:
        import torch

        from flowvox.eval.reference_artifact import open_reference

        torch.set_num_threads(threads)
        self._tts = open_reference(path)[0]
        self.voices = list(self._tts.checkpoint.voices())

    def say(self, text: str, voice: str, seed: int, max_seconds: float) -> dict[str, Any]:
        config = self._tts.model.config
        frames = round(max_seconds * config.frame_rate)
        started = time.perf_counter()
        generation = self._tts.generate(text, voice, seed=seed, max_frames=frames)
        generated = time.perf_counter()
        samples = self._tts.decode(generation.codes)
        ended = time.perf_counter()
        return {
            "audio_seconds": len(samples) / config.codec.sampling_rate,
            "compute_seconds": ended - started,
            "first_audio_seconds": ended - started,
            "frames": len(generation.codes),
            "stages": {"backbone and flow": generated - started, "codec": ended - generated},
        }


if __name__ == "__main__":
    main()
