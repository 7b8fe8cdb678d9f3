"""Stage `corpus`: text -> teacher parameters -> phase-locked audio and per-frame features.

Writes shards `corpus/<i>.npz` (fortunes) and `corpus/examples-<i>.npz` (WordNet), each done by itself,
so an interrupted run continues.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from flowvox.reference.training.features import at_frame_centres, frame_features
from flowvox.reference.training.synth import synthesize
from flowvox.reference.training.teacher import Teacher, lowered
from flowvox.reference.training.text import (
    cut_phrases,
    is_held_out,
    normalized,
    read_examples,
    read_sentences,
)

PHRASES = 8000
SHARD = 500
LOW_VOICE_SHARE = 0.3
LOW_PITCH, LOW_FORMANTS = 0.56, 0.86
VOICES = ("heart", "hart")
TRIM_FRAMES = 10  # at 80 Hz: the teacher pads each sentence with 160 ms of silence in front


def voice_of(text: str) -> int:
    """Index of the voice that speaks this text; by hash, so it never changes."""
    digest = hashlib.sha256(("voice:" + text).encode()).digest()
    return int(digest[0] < 256 * LOW_VOICE_SHARE)


def mean_phase(teacher: Teacher, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Circular mean of the teacher's pulse phase per frequency bin over voiced frames.

    The teacher's own phase varies with the sound; one fixed phase keeps its timbre and is predictable.
    """
    total = np.zeros(601, dtype=np.complex128)
    for text in texts:
        parameters = teacher.speak(teacher.phonemes(text))
        loud = (parameters.f0 > 0)[:, None] * np.exp(parameters.harmonic)
        total += (loud * np.exp(1j * parameters.phase)).sum(axis=0)
    return np.angle(total).astype(np.float32)


def make_shard(target: Path, texts: list[str]) -> int:
    """Synthesize one shard; returns its number of codec frames."""
    if target.exists():
        return int(np.load(target)["lengths"].sum())
    teacher = Teacher()
    phase = np.load(target.with_name("phase.npy"))
    columns: dict[str, list[Any]] = {}
    kept: list[str] = []
    for text in texts:
        phonemes = teacher.phonemes(text)
        if not 2 <= len(phonemes) <= 380:
            continue
        parameters = teacher.speak(phonemes)
        if len(parameters.f0) <= TRIM_FRAMES:
            continue
        parameters = dataclasses.replace(
            parameters,
            **{
                f.name: getattr(parameters, f.name)[TRIM_FRAMES:]
                for f in dataclasses.fields(parameters)
            },
        )
        parameters = dataclasses.replace(
            parameters, phase=np.broadcast_to(phase, parameters.harmonic.shape)
        )
        voice = voice_of(text)
        if voice == 1:
            parameters = lowered(parameters, LOW_PITCH, LOW_FORMANTS)
        audio, cycles = synthesize(parameters)
        envelopes, slope = frame_features(parameters)
        row = {
            "audio": np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16),
            "cycles": cycles.astype(np.uint8),
            "envelopes": envelopes.astype(np.float16),
            "slope": slope.astype(np.float16),
            "phoneme": at_frame_centres(parameters.phonemes).astype(np.uint8),
            "word": at_frame_centres(parameters.word_index).astype(np.uint8),
            "lengths": np.array([len(cycles)]),
            "voice": np.array([voice]),
            "words": np.array([phonemes.count(" ") + 1]),
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        kept.append(text)
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    partial_file = target.with_suffix(".partial.npz")
    np.savez(partial_file, **arrays, texts=np.array(kept))
    os.replace(partial_file, target)
    return int(arrays["lengths"].sum())


def build(work: Path, processes: int = 2) -> None:
    """Make the whole corpus under `work`/corpus."""
    folder = work / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    sentences = read_sentences()
    if not (folder / "phase.npy").exists():
        np.save(folder / "phase.npy", mean_phase(Teacher(), sentences[:60]))
    training = [text for text in sentences if not is_held_out(text)]
    phrases = [t for t in cut_phrases(training, PHRASES, seed=1) if not is_held_out(t)]
    held_out = [text for text in sentences if is_held_out(text)]
    texts = held_out + training + phrases
    known = {normalized(text) for text in texts}
    examples = [text for text in read_examples() if normalized(text) not in known]
    files, parts = [], []
    for prefix, group in (("", texts), ("examples-", examples)):
        shuffled = [group[i] for i in np.random.default_rng(2).permutation(len(group))]
        for start in range(0, len(shuffled), SHARD):
            files.append(folder / f"{prefix}{start // SHARD:04d}.npz")
            parts.append(shuffled[start : start + SHARD])
    with ProcessPoolExecutor(processes) as pool:
        frames = 0
        for file, count in zip(files, pool.map(make_shard, files, parts), strict=True):
            frames += count
            print(f"{file.stem}: {frames / 12.5 / 3600:.2f} h", flush=True)
