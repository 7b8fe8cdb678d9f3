"""Stage `locked`: the corpus spoken by hibari, phase-locked, in the fixed code space.

Writes a folder of the same layout as the stages speech, semantics, align and encode do, so that the
same language model trains on it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.alignment import spoken_tokens
from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.locked.codes import SEMANTIC_SCALE, CodeSpace, rounded
from flowvox.reference.training.locked.features import at_frame_centres, frame_features
from flowvox.reference.training.locked.synth import synthesize
from flowvox.reference.training.locked.teacher import Teacher, lowered
from flowvox.reference.training.semantics import LABELS, Semantics
from flowvox.reference.training.speech import Speech

LOW_VOICE_SHARE = 0.3
LOW_PITCH, LOW_FORMANTS = 0.56, 0.86
VOICES = ("heart", "hart")
TRIM = 10  # at 80 Hz: the teacher pads each sentence with 160 ms of silence in front
MOST_PHONEMES = 380


def voice_of(text: str) -> int:
    """Index of the voice that speaks this text; by hash, so it never changes."""
    digest = hashlib.sha256(("voice:" + text).encode()).digest()
    return int(digest[0] < 256 * LOW_VOICE_SHARE)


def mean_phase(teacher: Teacher, texts: list[str]) -> NDArray[np.float32]:
    """Circular mean of the teacher's pulse phase per frequency bin over voiced frames.

    The teacher's own phase varies with the sound; one fixed phase keeps its timbre and is predictable.
    """
    total = np.zeros(601, dtype=np.complex128)
    for text in texts:
        parameters = teacher.speak(teacher.phonemes(text))
        loud = (parameters.f0 > 0)[:, None] * np.exp(parameters.harmonic)
        total += (loud * np.exp(1j * parameters.phase)).sum(axis=0)
    return np.angle(total).astype(np.float32)


def utterance(
    teacher: Teacher, space: CodeSpace, phase: NDArray[np.float32], text: str
) -> dict[str, Any] | None:
    """Audio, codes and labels of one sentence; None where the teacher cannot say it."""
    phonemes = teacher.phonemes(text)
    if not 2 <= len(phonemes) <= MOST_PHONEMES:
        return None
    parameters = teacher.speak(phonemes)
    if len(parameters.f0) <= TRIM + 4:
        return None
    cut = {f.name: getattr(parameters, f.name)[TRIM:] for f in dataclasses.fields(parameters)}
    cut["phase"] = np.broadcast_to(phase, cut["harmonic"].shape)
    parameters = dataclasses.replace(parameters, **cut)
    voice = voice_of(text)
    if voice == 1:
        parameters = lowered(parameters, LOW_PITCH, LOW_FORMANTS)
    audio, cycles = synthesize(parameters)
    envelopes, slope = frame_features(parameters)
    return {
        "audio": np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16),
        "codes": rounded(space.acoustic(envelopes, cycles.astype(np.uint8), slope)),
        "semantic": space.semantic(envelopes)[1].astype(np.int16),
        "phoneme": at_frame_centres(parameters.phonemes).astype(np.uint8),
        "word": at_frame_centres(parameters.word_index).astype(np.int64),
        "voice": voice,
        "words": phonemes.count(" ") + 1,
    }


def _part(task: tuple[list[tuple[int, str]], NDArray[np.float32]]) -> list[dict[str, Any]]:
    (texts, phase), teacher, space = task, Teacher(), CodeSpace.load()
    rows = []
    for sentence, text in texts:
        if row := utterance(teacher, space, phase, text):
            rows.append({**row, "sentence": sentence})
    return rows


def build(work: Path, sentences: int, processes: int) -> None:
    """Speak the first `sentences` of the corpus; writes `work`/locked."""
    folder = work / "locked"
    folder.mkdir(exist_ok=True)
    for name in ("corpus.npz", "texts.json", "vocabulary.json"):
        shutil.copy(work / name, folder / name)
    shape = resources.files("flowvox.reference.training.locked") / "params.json"
    (folder / "params.json").write_text(shape.read_text("utf-8"), encoding="utf-8")
    texts = json.loads((work / "texts.json").read_text("utf-8"))[:sentences]
    phase = mean_phase(Teacher(), texts[:40])
    numbered = list(enumerate(texts))
    tasks = [(numbered[i : i + 500], phase) for i in range(0, len(numbered), 500)]
    with ProcessPoolExecutor(processes) as pool:
        rows = [row for part in pool.map(_part, tasks) for row in part]
    write(folder, rows)


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The arrays of the stages speech, semantics, align and encode."""
    corpus, space = Corpus.load(folder / "corpus.npz"), CodeSpace.load()
    first = np.cumsum(corpus.token_counts) - corpus.token_counts
    tokens = []
    for row in rows:
        sentence = row["sentence"]
        span = slice(first[sentence], first[sentence] + corpus.token_counts[sentence])
        known = row["words"] == corpus.words[sentence]
        word = row["word"] if known else np.full(len(row["word"]), -1)
        tokens.append(spoken_tokens(word, corpus.word[span], corpus.size[span]))

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([row[name] for row in rows])

    starts = np.concatenate([[0], np.cumsum([len(row["semantic"]) for row in rows])])
    sentences = np.array([row["sentence"] for row in rows])
    np.save(folder / "tokens.npy", np.concatenate(tokens))
    np.save(folder / "codes.npy", joined("codes"))
    np.save(folder / "held_out.npy", corpus.held_out[sentences])
    labels = np.repeat(joined("phoneme")[:, None], LABELS, axis=1)
    vectors = (space.centroids * np.float32(SEMANTIC_SCALE)).astype(np.float32)
    Semantics(labels, joined("semantic"), vectors).save(folder / "semantics.npz")
    Speech(
        audio=joined("audio"),
        phoneme=joined("phoneme"),
        word=joined("word").astype(np.int8),
        starts=starts,
        labels=starts,
        sentence=sentences,
        speaker=np.array([row["voice"] for row in rows]),
    ).save(folder / "speech")
