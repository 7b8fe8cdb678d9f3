"""Stage `locked`: the corpus spoken by hibari, phase-locked, in the fixed code space.

Writes a folder of the same layout as the stages speech, semantics, align and encode do, so that the
same language model trains on it. Its semantic codes are the first corpus' own: both teachers name
their phonemes alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from concurrent.futures import Executor, ProcessPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.alignment import spoken_tokens
from flowvox.reference.training.corpus import Corpus, append
from flowvox.reference.training.locked.chains import add_chains
from flowvox.reference.training.locked.codes import CodeSpace, rounded
from flowvox.reference.training.locked.features import frame_features, in_frames
from flowvox.reference.training.locked.lists import lexicon_texts, read_lexicon
from flowvox.reference.training.locked.long_sentences import COUNT as LONG
from flowvox.reference.training.locked.long_sentences import from_pieces, long_sentences
from flowvox.reference.training.locked.named import COUNT as NAMED
from flowvox.reference.training.locked.named import named_sentences
from flowvox.reference.training.locked.synth import FRAME, locked_phase, synthesize
from flowvox.reference.training.locked.teacher import Parameters, Teacher, warped
from flowvox.reference.training.semantics import LABELS, Semantics
from flowvox.reference.training.speech import Speech
from flowvox.reference.training.text import is_held_out, read_names


class Voice(NamedTuple):
    """What is done to the teacher's one voice: its F0 and its formants times a factor; its share."""

    pitch: float
    formants: float
    share: float


VOICES = {
    "heart": Voice(1, 1, 0.3),
    "hazel": Voice(1.12, 1.08, 0.2),
    "hart": Voice(0.5, 0.84, 0.3),
    "hugo": Voice(0.46, 0.77, 0.2),
}
TRIM = 10  # at 80 Hz: the teacher pads each sentence with 160 ms of silence in front
MOST_PHONEMES = 380
LINES = 500  # that a process says at a time
AUDIBLE = 17000  # sentences that are synthesized, too, for the codec; of the others codes will do


def voice_of(text: str) -> int:
    """Index of the voice that speaks this text; by hash, so it never changes."""
    place = hashlib.sha256(("voice:" + text).encode()).digest()[0] / 256
    return int(np.searchsorted(np.cumsum([v.share for v in VOICES.values()])[:-1], place, "right"))


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


def spoken(
    teacher: Teacher, phonemes: str, phase: NDArray[np.float32], voice: int
) -> Parameters | None:
    """The sentence in a voice; None where the teacher cannot say it."""
    if not 2 <= len(phonemes) <= MOST_PHONEMES:
        return None
    parameters = teacher.speak(phonemes)
    if len(parameters.f0) <= TRIM + 4:
        return None
    cut = {f.name: getattr(parameters, f.name)[TRIM:] for f in dataclasses.fields(parameters)}
    pitch, formants, _ = list(VOICES.values())[voice]
    parameters = warped(dataclasses.replace(parameters, **cut), pitch, formants)
    return dataclasses.replace(parameters, phase=np.broadcast_to(phase, parameters.harmonic.shape))


def utterance(
    teacher: Teacher,
    space: CodeSpace,
    phase: NDArray[np.float32],
    text: str,
    voice: int,
    *,
    audible: bool = True,
) -> dict[str, Any] | None:
    """Audio (empty unless `audible`), codes and labels of one sentence; None where the teacher cannot
    say it."""
    phonemes = teacher.phonemes(text)
    parameters = spoken(teacher, phonemes, phase, voice)
    if parameters is None:
        return None
    envelopes, voiced = frame_features(parameters)
    _, cycles, _ = locked_phase(parameters.f0, len(envelopes) * FRAME)
    audio = synthesize(parameters)[0] if audible else np.empty(0, np.float32)
    return {
        "audio": np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16),
        "codes": rounded(space.acoustic(envelopes, cycles, voiced)),
        "labels": in_frames(parameters.phonemes, LABELS).astype(np.uint8),
        "word": in_frames(parameters.word_index, 1)[:, 0],
        "voice": voice,
        "words": phonemes.count(" ") + 1,
    }


class Line(NamedTuple):
    """What a voice is to say: the number of the sentence in the corpus, and it or a piece of it."""

    sentence: int
    text: str
    voice: int


def _part(task: tuple[list[Line], NDArray[np.float32]]) -> list[dict[str, Any]]:
    (lines, phase), teacher, space = task, Teacher(), CodeSpace.load()
    rows = []
    for sentence, text, voice in lines:
        audible = sentence < AUDIBLE
        if row := utterance(teacher, space, phase, text, voice, audible=audible):
            rows.append({**row, "sentence": sentence})
    return rows


def _say(pool: Executor, lines: list[Line], phase: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Rows of `utterance`'s kind, in the order of the lines, without those that nobody can say."""
    tasks = [(lines[i : i + LINES], phase) for i in range(0, len(lines), LINES)]
    return [row for part in pool.map(_part, tasks) for row in part]


def add_lists(folder: Path, texts: list[str], exclude: set[str]) -> list[str]:
    """`lexicon_texts` beside `texts`, appended to `folder`'s corpus; returns what was added."""
    added = lexicon_texts(read_lexicon(), texts, exclude, seed=14)
    append(folder, added, np.array([is_held_out(text) for text in added]))
    return added


def add_named(folder: Path, texts: list[str], exclude: set[str]) -> list[str]:
    """`named_sentences` of `texts`, appended to `folder`'s corpus; returns what was added."""
    places = read_names(places=True)
    added = named_sentences(texts, places, exclude, NAMED, seed=17)
    append(folder, added, np.array([is_held_out(text) for text in added]))
    return added


def add_long(folder: Path, texts: list[str], exclude: set[str]) -> dict[int, list[str]]:
    """`long_sentences` of `texts`, appended to `folder`'s corpus: their pieces by their number."""
    added = long_sentences(texts, exclude, LONG, seed=16)
    first = len(Corpus.load(folder / "corpus.npz"))
    append(folder, [sentence for sentence, _ in added])
    return {first + i: pieces for i, (_, pieces) in enumerate(added)}


def build(work: Path, exclude: set[str], sentences: int, processes: int) -> None:
    """Speak the first `sentences` of the corpus, the first AUDIBLE as audio, lists of rare words,
    sentences with names, and long sentences.

    Writes `work`/locked. exclude: `text_hash` of texts that must not be trained on.
    """
    folder = work / "locked"
    folder.mkdir(exist_ok=True)
    for name in ("corpus.npz", "texts.json", "vocabulary.json"):
        shutil.copy(work / name, folder / name)
    shape = resources.files("flowvox.reference.training.locked") / "params.json"
    (folder / "params.json").write_text(shape.read_text("utf-8"), encoding="utf-8")
    texts = json.loads((work / "texts.json").read_text("utf-8"))
    added = add_lists(folder, texts, exclude) + add_named(folder, texts, exclude)
    phase = mean_phase(Teacher(), texts[:40])
    numbered = [*enumerate(texts[:sentences]), *enumerate(added, start=len(texts))]
    with ProcessPoolExecutor(processes) as pool:
        rows = _say(pool, [Line(number, text, voice_of(text)) for number, text in numbered], phase)
        rows += add_chains(folder, rows)
        long = add_long(folder, texts, exclude)
        lines = [
            Line(number, piece, voice_of(" ".join(pieces)))
            for number, pieces in long.items()
            for piece in pieces
        ]
        rows += from_pieces(long, _say(pool, lines, phase))
    write(folder, rows, Semantics.load(work / "export" / "semantics.npz"))


def write(folder: Path, rows: list[dict[str, Any]], semantics: Semantics) -> None:
    """The arrays of the stages speech, semantics, align and encode."""
    corpus = Corpus.load(folder / "corpus.npz")
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

    starts = np.concatenate([[0], np.cumsum([len(row["codes"]) for row in rows])])
    sentences = np.array([row["sentence"] for row in rows])
    np.save(folder / "tokens.npy", np.concatenate(tokens))
    np.save(folder / "codes.npy", joined("codes"))
    np.save(folder / "held_out.npy", corpus.held_out[sentences])
    labels = joined("labels")
    semantics.of(labels).save(folder / "semantics.npz")
    Speech(
        audio=joined("audio"),
        phoneme=labels[:, 0],
        word=joined("word").astype(np.int8),
        starts=starts,
        labels=starts,
        sentence=sentences,
        speaker=np.array([row["voice"] for row in rows]),
    ).save(folder / "speech")
