"""Chains: several utterances of one voice, one after the other, as one long utterance.

The corpus' sentences have 7 words in the median and 48 at most. A language model that has heard only
them does not know where it is in a text of 60 words: it has never seen positions so far apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.corpus import Corpus, append
from flowvox.reference.training.text import is_held_out

SHARE = 0.16  # of all frames, besides the utterances themselves
FRAMES = (110, 420)  # shortest and longest chain that is aimed at
MOST_WORDS = 120
MOST_TRIES = 10  # chains that are drawn for each utterance that there is


def draw(
    frames: NDArray[np.integer], words: NDArray[np.integer], voice: NDArray[np.integer], seed: int
) -> list[list[int]]:
    """Which utterances follow each other: indices into the arrays [N], chain by chain.

    A chain has one voice, at least two utterances, at most MOST_WORDS words and FRAMES[1] frames. There
    are none where hardly two utterances are short enough to follow each other.
    """
    rng = np.random.default_rng([8, seed])
    left, chains = SHARE * frames.sum(), []
    of_voice = [np.flatnonzero(voice == v) for v in range(voice.max() + 1)]
    for _ in range(MOST_TRIES * len(frames)):
        if left <= 0:
            break
        target = rng.integers(*FRAMES)
        candidates = of_voice[voice[rng.integers(len(voice))]]
        members = rng.choice(candidates, 16).tolist()
        long = np.cumsum(frames[members]) > target
        wordy = np.cumsum(words[members]) > MOST_WORDS
        members = members[: int(np.argmax(long | wordy)) if (long | wordy).any() else 16]
        if len(members) > 1:
            chains.append(members)
            left -= frames[members].sum()
    return chains


def joined(rows: list[dict[str, Any]], counts: list[int], sentence: int) -> dict[str, Any]:
    """One row of `utterance`'s kind from several.

    counts: words of each text; sentence: the number of the whole text in the corpus.
    """
    words, first = [], 0
    for row, count in zip(rows, counts, strict=True):
        known = row["words"] == count
        words.append(np.where(known & (row["word"] >= 0), row["word"] + first, -1))
        first += count
    return {
        "audio": np.empty(0, np.int16),
        "codes": np.concatenate([row["codes"] for row in rows]),
        "labels": np.concatenate([row["labels"] for row in rows]),
        "word": np.concatenate(words),
        "voice": rows[0]["voice"],
        "words": first,
        "sentence": sentence,
    }


def add_chains(folder: Path, rows: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Chains of the rows that are not held out; appends their texts to `folder`'s corpus and texts.

    A chain whose own text is held out, by its hash, is left out: nobody could tell that it was trained.
    """
    corpus = Corpus.load(folder / "corpus.npz")
    texts = json.loads((folder / "texts.json").read_text("utf-8"))
    rows = [row for row in rows if not corpus.held_out[row["sentence"]]]
    numbers = np.array([row["sentence"] for row in rows])
    frames = np.array([len(row["codes"]) for row in rows])
    voices = np.array([row["voice"] for row in rows])
    drawn = [
        [rows[i] for i in chain] for chain in draw(frames, corpus.words[numbers], voices, seed)
    ]
    chains = [(" ".join(texts[row["sentence"]] for row in chain), chain) for chain in drawn]
    chains = [(text, chain) for text, chain in chains if not is_held_out(text)]
    append(folder, [text for text, _ in chains])
    return [
        joined(chain, [int(corpus.words[row["sentence"]]) for row in chain], len(texts) + i)
        for i, (_, chain) in enumerate(chains)
    ]
