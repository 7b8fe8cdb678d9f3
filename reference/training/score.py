"""Stage `score`: the codec on sentences that no training saw, by the models that listen.

How well the model speaks is measured by `flowvox eval`; here is what that cannot see: the teacher's
recordings themselves, their codes decoded, and audio -> encoder -> codes -> decoder -> audio. The
sentences are of the suite `standard`, spoken by the phase-locked teacher.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowvox.eval.error_rate import word_error_rate
from flowvox.eval.naturalness import DistillMOS
from flowvox.eval.recognizer import Whisper
from flowvox.eval.suite import load_suite
from flowvox.files import write_beside
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import decode_audio
from flowvox.reference.model import load_model
from flowvox.reference.training.locked.codes import CodeSpace
from flowvox.reference.training.locked.corpus import VOICES, mean_phase, utterance
from flowvox.reference.training.locked.teacher import Teacher
from flowvox.reference.training.pack import fingerprint
from flowvox.reference.training.semantics import Semantics

RATE = 24000
PER_VOICE = 12
LONGEST = 90  # characters of a sentence
Audio = NDArray[np.float32]


def spoken(work: Path) -> Iterator[tuple[str, str, Audio, NDArray[np.int32]]]:
    """(voice, text, samples, codes [K, 37]): PER_VOICE sentences by every voice, each another."""
    teacher, space = Teacher(), CodeSpace.load()
    semantics = Semantics.load(work / "export" / "semantics.npz")
    texts = json.loads((work / "texts.json").read_text("utf-8"))
    phase = mean_phase(teacher, texts[:40])
    judged = [s.text for s in load_suite("standard").sentences if len(s.text) <= LONGEST]
    for place, text in enumerate(judged[: PER_VOICE * len(VOICES)]):
        voice = place % len(VOICES)
        row = utterance(teacher, space, phase, text, voice)
        if row is not None:
            codes = np.column_stack([semantics.of(row["labels"]).codes, row["codes"]])
            samples = row["audio"].astype(np.float32) / 32767
            yield list(VOICES)[voice], text, samples, codes.astype(np.int32)


@torch.inference_mode()
def score(work: Path, out: Path) -> dict[str, Any]:
    """WER and DistillMOS of recordings, decoded codes and resynthesis; writes `out`/scores.json."""
    model, listener, judge = load_model(Checkpoint.open(out)), Whisper(), DistillMOS()
    said: dict[str, list[str]] = {}
    heard: dict[str, dict[str, list[str]]] = {}
    natural: dict[str, dict[str, list[float]]] = {}
    for voice, text, recorded, codes in spoken(work):
        own = model.codec.encode(torch.from_numpy(recorded)[None])[0].numpy().astype(np.int32)
        waves = {
            "recorded": recorded,
            "decoded": decode_audio(model, codes),
            "resynthesized": decode_audio(model, own),
        }
        said.setdefault(voice, []).append(text)
        for name, wave in waves.items():
            mine = heard.setdefault(voice, {}).setdefault(name, [])
            mine.append(listener.transcribe(wave, RATE))
            scores = natural.setdefault(voice, {}).setdefault(name, [])
            scores.append(judge.score(wave, RATE)["distillmos"])
    codec = {
        voice: {
            name: {
                "wer": round(word_error_rate(said[voice], texts), 4),
                "distillmos": round(float(np.mean(natural[voice][name])), 3),
            }
            for name, texts in by_name.items()
        }
        for voice, by_name in heard.items()
    }
    count = sum(len(texts) for texts in said.values())
    result = {**fingerprint(out), "sentences": count, "codec": codec}
    write_beside(out / "scores.json", (json.dumps(result, indent=1) + "\n").encode())
    return result
