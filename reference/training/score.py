"""Stage `score`: the codec on sentences that no training saw, by the models that listen.

How well the model speaks is measured by `flowvox eval`; here is what that cannot see: the teacher's
recordings themselves, their codes decoded, audio -> encoder -> codes -> decoder -> audio, what the
model says when it follows their codes, and whether its free speech has the recordings' voices. The
sentences are of the suite `standard`, spoken by the phase-locked teacher.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowvox.eval.error_rate import word_error_rate
from flowvox.eval.naturalness import DistillMOS
from flowvox.eval.recognizer import Whisper
from flowvox.eval.speaker import Resemblyzer
from flowvox.eval.suite import load_suite
from flowvox.files import write_beside
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import decode_audio
from flowvox.reference.model import load_model
from flowvox.reference.training.likeness import (
    RATE,
    Audio,
    Speaker,
    Vector,
    likenesses,
    middle,
    unseen,
)
from flowvox.reference.training.locked.codes import CodeSpace
from flowvox.reference.training.locked.corpus import VOICES, mean_phase, utterance
from flowvox.reference.training.locked.teacher import Teacher
from flowvox.reference.training.pack import fingerprint
from flowvox.reference.training.semantics import Semantics

PER_VOICE = 12
LONGEST = 90  # characters of a sentence


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


@dataclass
class Heard:
    """What was heard of a voice's utterances: texts, DistillMOS, vectors of who speaks."""

    texts: list[str] = field(default_factory=list)
    natural: list[float] = field(default_factory=list)
    voices: list[Vector] = field(default_factory=list)

    def scores(self, said: list[str]) -> dict[str, float]:
        """WER against the texts `said`, mean DistillMOS."""
        return {
            "wer": round(word_error_rate(said, self.texts), 4),
            "distillmos": round(float(np.mean(self.natural)), 3),
        }


class Listeners:
    """The models that listen."""

    def __init__(self) -> None:
        self.recognizer, self.judge, self.embedder = Whisper(), DistillMOS(), Resemblyzer()

    def hear(self, samples: Audio, heard: Heard) -> None:
        """Add an utterance; of one without samples, that nothing was understood."""
        if not len(samples):
            heard.texts.append("")
            return
        heard.texts.append(self.recognizer.transcribe(samples, RATE))
        heard.natural.append(self.judge.score(samples, RATE)["distillmos"])
        heard.voices.append(self.embedder.embed(samples, RATE))


@torch.inference_mode()
def score(work: Path, out: Path) -> dict[str, Any]:
    """WER and DistillMOS of recordings, decoded codes, resynthesis, speech that follows the recordings'
    codes and free speech, and whose voices they are; writes `out`/scores.json.

    Voices that no training heard are scored, too, where `work` has the first teacher (stage `teacher`).
    """
    checkpoint, listeners = Checkpoint.open(out), Listeners()
    model = load_model(checkpoint)
    speaker = Speaker(checkpoint, model)
    said: dict[str, list[str]] = {}
    heard: dict[str, dict[str, Heard]] = {}
    for voice, text, recorded, codes in spoken(work):
        own = model.codec.encode(torch.from_numpy(recorded)[None])[0].numpy().astype(np.int32)
        waves = {
            "recorded": recorded,
            "decoded": decode_audio(model, codes),
            "resynthesized": decode_audio(model, own),
            "followed": speaker.follow(text, checkpoint.voice(voice), codes),
            "free": speaker.say(text, checkpoint.voice(voice)),
        }
        said.setdefault(voice, []).append(text)
        for name, wave in waves.items():
            listeners.hear(wave, heard.setdefault(voice, {}).setdefault(name, Heard()))
    teachers = {voice: middle(by_name["recorded"].voices) for voice, by_name in heard.items()}
    result = {
        **fingerprint(out),
        "sentences": sum(len(texts) for texts in said.values()),
        "codec": {
            voice: {name: mine.scores(said[voice]) for name, mine in by_name.items()}
            for voice, by_name in heard.items()
        },
        "similarity": {
            voice: likenesses(by_name["free"].voices, teachers) for voice, by_name in heard.items()
        },
    }
    if (work / "kokoro.onnx").exists():
        result["unseen"] = unseen(work, speaker, listeners.embedder, teachers)
    write_beside(out / "scores.json", (json.dumps(result, indent=1) + "\n").encode())
    return result
