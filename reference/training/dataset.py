"""Stage `dataset`: corpus shards -> codes, tokens and alignments in one memory-mapped place."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from numpy.typing import NDArray

from flowvox.reference.random_checkpoint import PATTERN
from flowvox.reference.training.bpe import SPECIALS, learn_bpe, read_tekken
from flowvox.reference.training.codes import CodeSpace, fit, rounded
from flowvox.reference.training.synth import FRAME
from flowvox.reference.training.text import is_held_out

VOCABULARY = 1560  # tokens besides the 1000 specials
TINY_CODE_SPACE = Path(__file__).with_name("code_space.npz")  # centroids as packed in models/tiny


@dataclass(frozen=True)
class Dataset:
    """All utterances. Rows of `codes` and friends are frames; utterance i is starts[i]:starts[i+1].

    codes: uint8 [N, 36]; semantic: int16 [N]; phoneme: uint8 [N]; token: int16 [N], index of the
    utterance's text token that is spoken in the frame, -1 where unknown; audio: int16 [N * FRAME].
    example: whether the text is one of WordNet's examples.
    """

    codes: NDArray[np.uint8]
    semantic: NDArray[np.int16]
    phoneme: NDArray[np.uint8]
    token: NDArray[np.int16]
    audio: NDArray[np.int16]
    starts: NDArray[np.int64]
    voice: NDArray[np.int64]
    texts: list[str]
    token_ids: list[list[int]]
    held_out: NDArray[np.bool_]
    example: NDArray[np.bool_]

    @classmethod
    def load(cls, work: Path) -> Dataset:
        """Read what `build` wrote."""
        folder = work / "dataset"
        small = np.load(folder / "small.npz")
        flat, ends = small["token_ids"], np.cumsum(small["token_counts"])

        def column(name: str) -> NDArray[Any]:
            rows: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r")
            return rows

        return cls(
            codes=column("codes").reshape(-1, BIG["codes"][1]),
            **{name: column(name).reshape(-1) for name in BIG if name != "codes"},
            starts=small["starts"],
            voice=small["voice"],
            texts=[str(text) for text in small["texts"]],
            token_ids=[part.tolist() for part in np.split(flat, ends[:-1])],
            held_out=small["held_out"],
            example=small["example"],
        )


# name -> (type, values per frame)
BIG: dict[str, tuple[type[np.generic], int]] = {
    "codes": (np.uint8, 36),
    "semantic": (np.int16, 1),
    "phoneme": (np.uint8, 1),
    "token": (np.int16, 1),
    "audio": (np.int16, FRAME),
}


def text_encoder(tokens: list[bytes]) -> tiktoken.Encoding:
    """The tokenizer over our vocabulary, without the special ids' offset."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    return tiktoken.Encoding("tiny", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def spoken_tokens(
    text: str, ids: list[int], encoder: tiktoken.Encoding, word: NDArray[np.uint8], words: int
) -> NDArray[np.int16]:
    """Index of the token spoken in each frame; a word's frames are shared out by bytes.

    `word` [F] counts the words that the teacher has finished; -1 everywhere if teacher and text
    disagree on the number of words.
    """
    unknown = np.full(len(word), -1, dtype=np.int16)
    if len(text.split()) != words:
        return unknown
    owner, last = [], -1
    for rank in ids:
        piece = encoder.decode_single_token_bytes(rank)
        last += last < 0 or piece.startswith(b" ")
        owner.append(last)
    for index in range(words):
        frames = np.flatnonzero(word == index)
        members = [k for k, o in enumerate(owner) if o == index]
        if len(frames) == 0 or not members:
            continue
        sizes = [len(encoder.decode_single_token_bytes(ids[k])) for k in members]
        edges = np.cumsum(sizes) / sum(sizes)
        place = (np.arange(len(frames)) + 0.5) / len(frames)
        unknown[frames] = np.array(members)[np.searchsorted(edges, place)]
    return unknown


def _create(folder: Path, frames: int) -> dict[str, np.memmap[Any, Any]]:
    """The arrays of `BIG` as files to fill, [frames, values per frame]."""
    return {
        name: np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(frames, width)
        )
        for name, (dtype, width) in BIG.items()
    }


def build(work: Path, start: Path | None = None) -> None:
    """Encode every shard and write `work`/dataset.

    With `start` (models/tiny) its code space, kept beside this file, and its vocabulary are used, so
    that a training can continue from its weights; else both are fitted to the corpus.
    """
    folder = work / "dataset"
    folder.mkdir(exist_ok=True)
    shape = resources.files("flowvox") / "shapes" / "tiny.json"
    (work / "params.json").write_text(shape.read_text("utf-8"), encoding="utf-8")
    if start:
        CodeSpace.load(TINY_CODE_SPACE).save(work / "codes.npz")
    space = CodeSpace.load(work / "codes.npz") if (work / "codes.npz").exists() else fit(work)
    files = [
        file
        for pattern in ("[0-9]*[0-9].npz", "examples-*[0-9].npz")
        for file in sorted((work / "corpus").glob(pattern))
    ]
    shards = [np.load(file) for file in files]
    counts = [len(shard["texts"]) for shard in shards]
    texts = [str(text) for shard in shards for text in shard["texts"]]
    held_out = np.array([is_held_out(text) for text in texts])
    training = [t for t, h in zip(texts, held_out, strict=True) if not h]
    tokens = read_tekken(start / "tekken.json") if start else learn_bpe(training, VOCABULARY)
    encoder = text_encoder(tokens)
    ids = [encoder.encode(text, disallowed_special=()) for text in texts]
    lengths = np.concatenate([shard["lengths"] for shard in shards])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    columns = _create(folder, int(starts[-1]))
    utterance, first = 0, 0
    for shard in shards:
        envelopes = shard["envelopes"].astype(np.float32)
        slope = shard["slope"].astype(np.float32)
        here = slice(first, first + len(envelopes))
        columns["codes"][here] = rounded(space.acoustic(envelopes, shard["cycles"], slope))
        columns["semantic"][here, 0] = space.semantic(envelopes)[1]
        columns["phoneme"][here, 0] = shard["phoneme"]
        columns["audio"][here] = shard["audio"].reshape(-1, FRAME)
        ends = np.cumsum(shard["lengths"])
        for word, words in zip(np.split(shard["word"], ends[:-1]), shard["words"], strict=True):
            columns["token"][first : first + len(word), 0] = spoken_tokens(
                texts[utterance], ids[utterance], encoder, word, int(words)
            )
            first += len(word)
            utterance += 1
    known = (np.asarray(columns["token"]) >= 0).mean()
    for column in columns.values():
        column.flush()
    np.savez(
        folder / "small.npz",
        starts=starts,
        voice=np.concatenate([shard["voice"] for shard in shards]),
        texts=np.array(texts),
        token_ids=np.concatenate([np.array(i) for i in ids]) + SPECIALS,
        token_counts=np.array([len(i) for i in ids]),
        held_out=held_out,
        example=np.repeat([file.stem.startswith("examples") for file in files], counts),
        vocabulary=np.array([token.hex() for token in tokens]),
    )
    hours = starts[-1] * FRAME / 24000 / 3600
    print(f"{len(texts)} utterances, {hours:.1f} h, {held_out.sum()} held out, aligned {known:.1%}")
