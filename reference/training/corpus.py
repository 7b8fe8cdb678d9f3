"""Stage `corpus`: sentences -> text tokens and the teacher's phonemes, in one small file.

Phonemes come from hibari-tts' G2P (Apache-2.0, no network), American or British by turns; the alphabet
is Kokoro's. The tokenizer's vocabulary is learned from the same sentences.
"""

from __future__ import annotations

import dataclasses
import json
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from numpy.typing import NDArray

from flowvox.reference.random_checkpoint import PATTERN
from flowvox.reference.training.bpe import learn_bpe
from flowvox.reference.training.text import corpus_texts, is_held_out

VOCABULARY = 1560  # tokens besides the 1000 specials
BRITISH_SHARE = 0.42
MOST_PHONEMES = 400
PART = 4000  # sentences per task


@dataclass(frozen=True)
class Corpus:
    """N sentences; flat arrays with counts per sentence.

    tokens [sum token_counts]: ranks (ids less the specials); word, size: index of the word that a
    token belongs to, and its bytes. phonemes [sum phoneme_counts]: Kokoro's ids, 0 at both ends.
    words [N]: words of the text. british, held_out [N].
    """

    tokens: NDArray[np.uint16]
    word: NDArray[np.uint8]
    size: NDArray[np.uint8]
    token_counts: NDArray[np.int64]
    phonemes: NDArray[np.uint8]
    phoneme_counts: NDArray[np.int64]
    words: NDArray[np.int64]
    british: NDArray[np.bool_]
    held_out: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def load(cls, path: Path) -> Corpus:
        """Read corpus.npz."""
        with np.load(path) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def save(self, path: Path) -> None:
        """Write corpus.npz."""
        np.savez_compressed(
            path, **{field.name: getattr(self, field.name) for field in fields(self)}
        )

    def extended(
        self,
        texts: list[str],
        encoder: tiktoken.Encoding,
        held_out: NDArray[np.bool_] | None = None,
    ) -> Corpus:
        """With more texts, without phonemes; all of them to train on unless `held_out` [len(texts)]."""
        none = np.zeros(len(texts), bool)
        more = dataclasses.replace(
            self,
            **tokenized(texts, encoder),
            phonemes=np.empty(0, np.uint8),
            phoneme_counts=np.zeros(len(texts), np.int64),
            british=none,
            held_out=none if held_out is None else held_out,
        )
        return Corpus(
            **{
                f.name: np.concatenate([getattr(self, f.name), getattr(more, f.name)])
                for f in fields(self)
            }
        )


def text_encoder(tokens: list[bytes]) -> tiktoken.Encoding:
    """The tokenizer over our vocabulary, without the special ids' offset."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    return tiktoken.Encoding("tiny", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def read_vocabulary(folder: Path) -> list[bytes]:
    """The tokens of `folder`/vocabulary.json by rank."""
    return [bytes.fromhex(t) for t in json.loads((folder / "vocabulary.json").read_text("utf-8"))]


def append(folder: Path, texts: list[str], held_out: NDArray[np.bool_] | None = None) -> None:
    """Add texts to `folder`'s corpus.npz and texts.json: `Corpus.extended`."""
    encoder = text_encoder(read_vocabulary(folder))
    Corpus.load(folder / "corpus.npz").extended(texts, encoder, held_out).save(
        folder / "corpus.npz"
    )
    known = json.loads((folder / "texts.json").read_text("utf-8"))
    (folder / "texts.json").write_text(json.dumps(known + texts), "utf-8")


def phonemize(task: tuple[int, list[str]]) -> list[tuple[str, bool, list[int]]]:
    """(sentence, British?, phoneme ids) of the sentences that the G2P can read."""
    from hibari import Hibari
    from hibari.g2p import G2P

    first, texts = task
    hibari, readers = Hibari(threads=1), (G2P(), G2P(british=True))
    rows = []
    for number, text in enumerate(texts, start=first):
        british = random.Random(number).random() < BRITISH_SHARE
        phonemes = " ".join(readers[british](part) for part in hibari.split_sentences(text))
        ids = hibari.ids(phonemes)
        if 4 <= len(ids) <= MOST_PHONEMES:
            rows.append((text, british, ids))
    return rows


def owners(ranks: list[int], encoder: tiktoken.Encoding) -> tuple[list[int], list[int]]:
    """(index of the word that each token belongs to, its size in bytes)."""
    word, size, current = [], [], -1
    for rank in ranks:
        piece = encoder.decode_single_token_bytes(rank)
        current += current < 0 or piece.startswith(b" ")
        word.append(current)
        size.append(len(piece))
    return word, size


def tokenized(texts: list[str], encoder: tiktoken.Encoding) -> dict[str, NDArray[Any]]:
    """The fields of Corpus that the texts themselves give."""
    ranks = [encoder.encode_ordinary(text) for text in texts]
    owned = [owners(r, encoder) for r in ranks]
    return {
        "tokens": np.array([x for r in ranks for x in r], np.uint16),
        "word": np.array([x for word, _ in owned for x in word], np.uint8),
        "size": np.array([x for _, size in owned for x in size], np.uint8),
        "token_counts": np.array([len(r) for r in ranks]),
        "words": np.array([len(text.split()) for text in texts]),
    }


def build(work: Path, exclude: set[str], vocabulary: list[bytes] | None, processes: int) -> None:
    """Write `work`/corpus.npz, texts.json and vocabulary.json.

    exclude: `text_hash` of sentences that must not be trained on; vocabulary: None learns one.
    """
    work.mkdir(parents=True, exist_ok=True)
    texts = corpus_texts(exclude)
    tasks = [(i, texts[i : i + PART]) for i in range(0, len(texts), PART)]
    with ProcessPoolExecutor(processes) as pool:
        rows = [row for part in pool.map(phonemize, tasks) for row in part]
    write(work, rows, vocabulary or learn_bpe([text for text, _, _ in rows], VOCABULARY))


def write(work: Path, rows: list[tuple[str, bool, list[int]]], vocabulary: list[bytes]) -> None:
    """The files of `build`."""
    texts = [text for text, _, _ in rows]
    Corpus(
        **tokenized(texts, text_encoder(vocabulary)),
        phonemes=np.array([x for _, _, ids in rows for x in ids], np.uint8),
        phoneme_counts=np.array([len(ids) for _, _, ids in rows]),
        british=np.array([british for _, british, _ in rows]),
        held_out=np.array([is_held_out(text) for text in texts]),
    ).save(work / "corpus.npz")
    (work / "texts.json").write_text(json.dumps(texts), "utf-8")
    (work / "vocabulary.json").write_text(json.dumps([t.hex() for t in vocabulary]), "utf-8")
