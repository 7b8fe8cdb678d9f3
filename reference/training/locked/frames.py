"""Frames of speech as envelopes, for what needs no waveforms: in space.py, front.py and codec.py."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.locked.codes import excitation
from flowvox.reference.training.locked.corpus import mean_phase, spoken, voice_of
from flowvox.reference.training.locked.features import FLOORS, frame_features, in_frames
from flowvox.reference.training.locked.synth import FRAME, locked_phase
from flowvox.reference.training.locked.teacher import Teacher
from flowvox.reference.training.semantics import LABELS, Semantics

CROP = 48
SHORT_CONTEXT = 4  # frames at the head of a crop that a loss skips


class Gathered(NamedTuple):
    """M frames of N sentences, mapped from files.

    envelopes [M, ENVELOPE] float16; excitation [M, 2]: acoustic values 0 and 1; semantic [M]: codes;
    starts [N + 1]: where sentences begin.
    """

    envelopes: NDArray[np.float16]
    excitation: NDArray[np.float32]
    semantic: NDArray[np.integer]
    starts: NDArray[np.int64]


def gather(work: Path, sentences: int, processes: int) -> Gathered:
    """Of the training sentences among the first `sentences`; computed once, into `work`/space."""
    folder = work / "space"
    if not (folder / "starts.npy").exists():
        _compute(work, folder, sentences, processes)
    return Gathered(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Gathered._fields))


def _compute(work: Path, folder: Path, sentences: int, processes: int) -> None:
    """Writes the arrays; `starts`, small, comes last and says that the others are whole."""
    folder.mkdir(exist_ok=True)
    texts = json.loads((work / "texts.json").read_text("utf-8"))[:sentences]
    phase = mean_phase(Teacher(), texts[:40])
    held = Corpus.load(work / "corpus.npz").held_out
    known = [text for text, out in zip(texts, held[:sentences], strict=True) if not out]
    tasks = [(known[i : i + 250], phase) for i in range(0, len(known), 250)]
    with ProcessPoolExecutor(processes) as pool:
        rows = [row for part in pool.map(_part, tasks) for row in part]
    envelopes, sounds, labels = (np.concatenate(column) for column in zip(*rows, strict=True))
    semantic = Semantics.load(work / "export" / "semantics.npz").of(labels).codes
    np.save(folder / "envelopes.npy", envelopes)
    np.save(folder / "excitation.npy", sounds)
    np.save(folder / "semantic.npy", semantic)
    np.save(folder / "starts.npy", np.cumsum([0] + [len(row[0]) for row in rows]))


def _part(task: tuple[list[str], NDArray[np.float32]]) -> list[tuple[NDArray[Any], ...]]:
    (texts, phase), teacher = task, Teacher()
    rows: list[tuple[NDArray[Any], ...]] = []
    for text in texts:
        parameters = spoken(teacher, teacher.phonemes(text), phase, voice_of(text))
        if parameters is not None:
            envelopes, voiced = frame_features(parameters)
            _, cycles, _ = locked_phase(parameters.f0, len(envelopes) * FRAME)
            low = np.maximum(envelopes, FLOORS).astype(np.float16)
            labels = in_frames(parameters.phonemes, LABELS)
            rows.append((low, excitation(cycles, voiced), labels))
    return rows


def random_rows(starts: Tensor, count: int) -> Tensor:
    """Rows [count, CROP] of the frames of random crops."""
    room = starts.diff() - CROP
    chosen = torch.multinomial((room >= 0).float(), count, replacement=True)
    offset = (torch.rand(count) * (room[chosen] + 1)).long()
    return (starts[chosen] + offset)[:, None] + torch.arange(CROP)
