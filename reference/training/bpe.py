"""A byte-pair vocabulary in tekken format, learned from the corpus text."""

from __future__ import annotations

import base64
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]

from flowvox.reference.random_checkpoint import PATTERN, PUBLISHED_SPECIALS

SPECIALS = 1000


def learn_bpe(texts: list[str], size: int) -> list[bytes]:
    """`size` tokens in rank order: the 256 bytes, then merges, most frequent pair first."""
    words = Counter(piece for text in texts for piece in regex.findall(PATTERN, text))
    pieces = [[bytes([b]) for b in word.encode()] for word in words]
    counts = list(words.values())
    pairs: Counter[tuple[bytes, bytes]] = Counter()
    where: dict[tuple[bytes, bytes], set[int]] = defaultdict(set)
    for index, piece in enumerate(pieces):
        for pair in itertools.pairwise(piece):
            pairs[pair] += counts[index]
            where[pair].add(index)
    tokens = [bytes([b]) for b in range(256)]
    known = set(tokens)
    while len(tokens) < size:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merged = best[0] + best[1]
        for index in where.pop(best):
            piece = pieces[index]
            for pair in itertools.pairwise(piece):
                pairs[pair] -= counts[index]
            pieces[index] = piece = _merge(piece, best)
            for pair in itertools.pairwise(piece):
                pairs[pair] += counts[index]
                where[pair].add(index)
        del pairs[best]
        if merged not in known:
            known.add(merged)
            tokens.append(merged)
    return tokens


def _merge(piece: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    out: list[bytes] = []
    i = 0
    while i < len(piece):
        if i + 1 < len(piece) and (piece[i], piece[i + 1]) == pair:
            out.append(piece[i] + piece[i + 1])
            i += 2
        else:
            out.append(piece[i])
            i += 1
    return out


def read_tekken(path: Path) -> list[bytes]:
    """The tokens of a tekken.json in rank order."""
    vocabulary = json.loads(path.read_text("utf-8"))["vocab"]
    return [base64.b64decode(entry["token_bytes"]) for entry in vocabulary]


def write_tekken(path: Path, tokens: list[bytes], voices: dict[str, int]) -> None:
    """tekken.json (version v7) with the published special ids; `voices`: name -> [AUDIO] slots."""
    vocabulary = [
        {"rank": i, "token_bytes": base64.b64encode(token).decode(), "token_str": _text(token)}
        for i, token in enumerate(tokens)
    ]
    specials = [
        {"rank": i, "token_str": PUBLISHED_SPECIALS.get(i, f"<SPECIAL_{i}>"), "is_control": True}
        for i in range(SPECIALS)
    ]
    document: dict[str, Any] = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(tokens),
            "default_vocab_size": len(tokens) + SPECIALS,
            "default_num_special_tokens": SPECIALS,
            "version": "v7",
        },
        "vocab": vocabulary,
        "special_tokens": specials,
        "audio": {
            "sampling_rate": 24000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
            "voice_num_audio_tokens": voices,
        },
    }
    path.write_text(json.dumps(document, ensure_ascii=True) + "\n", encoding="utf-8")


def _text(token: bytes) -> str | None:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return None
