"""Long runs of one bundle: does memory grow, does streamed audio drift from whole audio?

One utterance of many seconds, then many utterances in a row, in this process. Memory is the anonymous
one: weights that are mapped from files come and go as the system likes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import FlowvoxError
from flowvox.eval.bench import SENTENCES, machine
from flowvox.machine import cores, memory_use
from flowvox.runtime.codec import CodecStream, decode_whole
from flowvox.runtime.plan import chunk_sizes
from flowvox.runtime.tts import TTS

CHARACTERS_PER_SECOND = 25  # more than anybody speaks: the limit ends the utterance, not the text
SHORT_SECONDS = 8.0
STAGES = ("backbone", "flow", "codec")
WARM_UP = 5  # utterances until arenas have their size


def long_run(
    path: Path,
    *,
    seconds: float,
    utterances: int,
    threads: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """`one`: the long utterance; `many`: the short ones. Bytes are None where the system tells none.

    drift: largest difference between samples decoded in streamed chunks and 64 frames at a time, at
    the beginning and at the end. grown_bytes: anonymous memory at the end less that before (`one`) or
    after WARM_UP utterances (`many`). ms_per_frame: without the prompt, as `flowvox plan` predicts
    it; prompt_seconds: the prompt alone; memory: at the end. Raises FlowvoxError.
    """
    threads = threads or cores()
    started = time.perf_counter()
    tts = TTS.load(path, threads=threads, verify=False)
    loaded = time.perf_counter() - started
    tts.say(SENTENCES[0], max_seconds=1.0)
    total = 1 + utterances
    report(0, total)
    one = _one(tts, seconds)
    marks = []
    started = time.perf_counter()
    for i, text in enumerate(itertools.islice(itertools.cycle(SENTENCES), utterances)):
        report(1 + i, total)
        tts.say(text, seed=i, max_seconds=min(SHORT_SECONDS, seconds))
        marks.append(_anonymous())
    report(total, total)
    use = memory_use()
    early = marks[min(WARM_UP, len(marks)) - 1] if marks else None
    many = {
        "utterances": utterances,
        "seconds": time.perf_counter() - started,
        "anonymous_bytes": marks[-1] if marks else None,
        "grown_bytes": _difference(early, marks[-1]) if marks else None,
    }
    return {
        "bundle": str(path),
        "load_seconds": loaded,
        "one": one,
        "many": many,
        "memory": use,
        "machine": machine(threads),
    }


def _one(tts: TTS, seconds: float) -> dict[str, Any]:
    length = max(200, round(seconds * CHARACTERS_PER_SECOND))
    text = " ".join(itertools.islice(itertools.cycle(SENTENCES), 1 + length // 50))
    before = _anonymous()
    speech = tts.synthesize(text, max_seconds=seconds)
    after = _anonymous()
    if not len(speech.codes):
        raise FlowvoxError(f"{tts.bundle.path}: says nothing; it cannot be measured")
    beginning, end = _drift(tts, speech.codes)
    times, frames = speech.times, len(speech.codes)
    seconds_of = {stage: getattr(times, stage) for stage in STAGES}
    seconds_of["backbone"] -= times.prompt
    return {
        "audio_seconds": speech.audio.seconds,
        "frames": frames,
        "rtf": speech.rtf,
        "first_audio_seconds": speech.first_audio_seconds,
        "ms_per_frame": {stage: 1000 * spent / frames for stage, spent in seconds_of.items()},
        "prompt_seconds": times.prompt,
        "anonymous_bytes": after,
        "grown_bytes": _difference(before, after),
        "drift": {"beginning": beginning, "end": end},
    }


def _drift(tts: TTS, codes: NDArray[np.int32]) -> tuple[float, float]:
    """Over the first and the last tenth of the samples."""
    session = tts.engine.codec_session
    stream, start, parts = CodecStream(session), 0, []
    for size in chunk_sizes():
        if start >= len(codes):
            break
        parts.append(stream.decode(codes[start : start + size]))
        start += size
    difference = np.abs(np.concatenate(parts) - decode_whole(session, codes))
    tenth = max(1, len(difference) // 10)
    return float(difference[:tenth].max()), float(difference[-tenth:].max())


def _anonymous() -> int | None:
    use = memory_use()
    return None if use is None else use["anonymous"]


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
