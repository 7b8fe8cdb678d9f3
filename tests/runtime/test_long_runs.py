"""Long use: memory does not grow, audio does not drift, threads and weights are as told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowvox import TTS
from flowvox.bundle import Bundle
from flowvox.machine import memory_use
from flowvox.runtime import backbone
from flowvox.runtime.backbone import BackboneRunner
from flowvox.runtime.codec import CodecStream, decode_whole
from flowvox.runtime.plan import chunk_sizes
from flowvox.runtime.prepack import prepack

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_many_utterances_leave_nothing_behind(micro_bundles: dict[str, Path]) -> None:
    """A KV cache that stayed would be 25 KB an utterance, a session or its arena megabytes."""
    tts = TTS.load(micro_bundles["int8"], device="cpu", threads=1)
    marks = []
    for i in range(60):
        tts.say("Hello there.", seed=i, max_seconds=0.4)
        use = memory_use()
        assert use is not None
        marks.append(use["anonymous"])
    assert marks[-1] - marks[19] < 1 << 19


def test_streamed_audio_does_not_drift(micro_bundles: dict[str, Path]) -> None:
    """40 seconds in chunks as they are streamed, and 64 frames at a time."""
    tts = TTS.load(micro_bundles["fp32"], device="cpu", threads=1)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 7, (500, tts.config.n_codebooks), dtype=np.int32)
    whole = decode_whole(tts.engine.codec_session, codes)
    stream, start, parts = CodecStream(tts.engine.codec_session), 0, []
    for size in chunk_sizes():
        parts.append(stream.decode(codes[start : start + size]))
        start += size
        if start >= len(codes):
            break
    streamed = np.concatenate(parts)
    difference = np.abs(streamed - whole)
    assert difference[-len(whole) // 10 :].max() <= 1e-5 * np.abs(whole).max()
    assert difference.max() <= 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("seconds", [0.4, 2.0])
def test_the_kv_cache_is_as_long_as_the_speech_may_get(
    micro_bundles: dict[str, Path], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[BackboneRunner] = []

    def noted(*given: Any) -> BackboneRunner:
        made.append(BackboneRunner(*given))
        return made[-1]

    monkeypatch.setattr(backbone, "BackboneRunner", noted)
    tts = TTS.load(micro_bundles["int8"], device="cpu", threads=1)
    speech = tts.synthesize("Hello there, and a good morning.", max_seconds=seconds)
    (runner,) = made
    frames = round(seconds * tts.config.frame_rate)
    assert len(speech.codes) == frames
    prompt = runner.length - frames
    assert runner.positions == prompt + frames
    assert {value.shape()[2] for value in runner._cache.values()} == {runner.positions}


def child(code: str, *arguments: object) -> dict[str, int]:
    """What a fresh process prints as JSON."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


COUNT = """
import json, os, sys
from flowvox import TTS
def tasks(): return len(os.listdir("/proc/self/task"))
before = tasks()
tts = TTS.load(sys.argv[1], device="cpu", threads=int(sys.argv[2]) or None)
tts.say("Hello.", max_seconds=0.2)
print(json.dumps({"started": tasks() - before}))
"""


@linux
@pytest.mark.parametrize("threads", [1, 3])
def test_every_session_has_as_many_threads_as_asked(
    micro_bundles: dict[str, Path], threads: int
) -> None:
    """The caller's own is the first of them: a session starts one less."""
    assert child(COUNT, micro_bundles["int8"], threads)["started"] == 3 * (threads - 1)


@linux
def test_by_default_affinity_decides(micro_bundles: dict[str, Path]) -> None:
    one = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    assert child(one + COUNT, micro_bundles["int8"], 0)["started"] == 0


WEIGHTS = """
import json, sys
from flowvox import TTS
tts = TTS.load(sys.argv[1], device="cpu", threads=1)
tts.say("Hello.", max_seconds=0.2)
mapped, name = {}, ""
for line in open("/proc/self/smaps"):
    words = line.split()
    if "-" in words[0]:
        name = words[-1]
    elif name.endswith(".onnx.data") and words[0] in ("Rss:", "Anonymous:"):
        mapped[words[0]] = mapped.get(words[0], 0) + int(words[1]) * 1024
print(json.dumps(mapped))
"""


@linux
def test_pre_packed_weights_are_mapped_and_nobodys_own(
    tiny_int4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is mapped and not anonymous lies in the page cache once, for all processes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepack(Bundle.open(tiny_int4))
    mapped = child(WEIGHTS, tiny_int4)
    stored = sum(file.stat().st_size for file in tiny_int4.glob("*.onnx.data"))
    assert mapped["Rss:"] > stored / 2
    assert mapped["Anonymous:"] == 0
