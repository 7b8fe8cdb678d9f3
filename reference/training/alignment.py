"""Which text token is spoken in each frame, from the teacher's durations of words."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.semantics import label_index
from flowvox.reference.training.speech import Speech

UNKNOWN = -1


def spoken_tokens(
    word: NDArray[np.integer], owner: NDArray[np.integer], size: NDArray[np.integer]
) -> NDArray[np.int16]:
    """Index of the token spoken in each frame; a word's frames are shared out by bytes.

    word [F]: the word spoken in each frame, UNKNOWN where nobody knows; owner, size [T]: the word that
    each token belongs to, and its bytes.
    """
    spoken = np.full(len(word), UNKNOWN, dtype=np.int16)
    for index in np.unique(word[word >= 0]):
        frames = np.flatnonzero(word == index)
        members = np.flatnonzero(owner == index)
        if len(members):
            edges = np.cumsum(size[members]) / size[members].sum()
            place = (np.arange(len(frames)) + 0.5) / len(frames)
            spoken[frames] = members[np.searchsorted(edges, place)]
    return spoken


def _part(work: Path, begin: int, end: int) -> NDArray[np.int16]:
    corpus, speech = Corpus.load(work / "corpus.npz"), Speech.load(work / "speech")
    first = np.cumsum(corpus.token_counts) - corpus.token_counts
    middle = np.load(work / "words.npy", mmap_mode="r")
    rows = []
    for u in range(begin, end):
        sentence = speech.sentence[u]
        span = slice(first[sentence], first[sentence] + corpus.token_counts[sentence])
        word = middle[speech.starts[u] : speech.starts[u + 1]]
        rows.append(spoken_tokens(word, corpus.word[span], corpus.size[span]))
    return np.concatenate(rows)


def build(work: Path, processes: int) -> None:
    """Stage `align`: writes `work`/tokens.npy, int16 [M]."""
    speech = Speech.load(work / "speech")
    np.save(work / "words.npy", np.asarray(speech.word)[label_index(speech, 1)[:, 0]])
    edges = np.linspace(0, len(speech.sentence), 4 * processes + 1).astype(int)
    with ProcessPoolExecutor(processes) as pool:
        parts = pool.map(_part, [work] * (len(edges) - 1), edges[:-1], edges[1:])
        np.save(work / "tokens.npy", np.concatenate(list(parts)))
