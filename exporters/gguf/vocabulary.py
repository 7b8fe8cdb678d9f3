"""tekken.json <-> the tokenizer of a GGUF file.

The file has the splitting pattern and the special tokens as metadata, the vocabulary as a tensor: each
token as a little-endian u16 length and its bytes, one float32 per byte. Only tokens that have an id are
written (the published tekken.json lists more, and an engine that took them all would go wrong). The
rest of tekken.json goes along under a key of ours.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from flowvox.errors import CheckpointError
from flowvox.quantizers.ggml.formats import Floats
from flowvox.tokenizer import MAX_VOCABULARY

PATTERN = "tokenizer.tekken.pattern"
SPECIALS = "tokenizer.tekken.specials"
N_SPECIALS = "tokenizer.tekken.n_specials"
N_VOCABULARY = "tokenizer.tekken.n_vocab"
REST = "flowvox.tekken"
LONGEST_TOKEN = 0xFFFF


def tokenizer_metadata(document: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Key -> (type, value) for a tekken.json that `Tokenizer` has accepted."""
    config = document["config"]
    specials = [f"<SPECIAL_{i}>" for i in range(config["default_num_special_tokens"])]
    for entry in document.get("special_tokens", []):
        if entry["rank"] < len(specials):
            specials[entry["rank"]] = entry["token_str"]
    lists = {"vocab", "special_tokens"}
    rest = {key: value for key, value in document.items() if key not in lists}
    return {
        PATTERN: ("string", config["pattern"]),
        SPECIALS: ("strings", specials),
        N_SPECIALS: ("u32", len(specials)),
        N_VOCABULARY: ("u32", config["default_vocab_size"] - len(specials)),
        REST: ("string", json.dumps(rest, separators=(",", ":"), sort_keys=True)),
    }


def vocabulary_values(document: Mapping[str, Any]) -> Floats:
    """The tensor: float32 [bytes]. Raises CheckpointError for a token that is too long."""
    config = document["config"]
    count = config["default_vocab_size"] - config["default_num_special_tokens"]
    packed = bytearray()
    for entry in document["vocab"][:count]:
        token = base64.b64decode(entry["token_bytes"])
        if len(token) > LONGEST_TOKEN:
            raise CheckpointError(
                f"token {entry['rank']} has {len(token)} bytes, too many for GGUF"
            )
        packed += len(token).to_bytes(2, "little") + token
    return np.frombuffer(packed, np.uint8).astype(np.float32)


def tekken_document(
    metadata: Mapping[str, Any], values: Floats, vocab_size: int, where: str
) -> dict[str, Any]:
    """tekken.json of a file whose model has `vocab_size` tokens. Raises CheckpointError."""
    specials, pattern = metadata.get(SPECIALS), metadata.get(PATTERN)
    if not isinstance(specials, list) or not isinstance(pattern, str):
        raise CheckpointError(f"{where}: has no {PATTERN} or {SPECIALS}; write it again")
    if not 0 < len(specials) < vocab_size <= MAX_VOCABULARY:
        raise CheckpointError(f"{where}: {len(specials)} special tokens of {vocab_size} in all")
    tokens = _tokens(values, vocab_size - len(specials), where)
    config = {
        "pattern": pattern,
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": vocab_size,
        "default_num_special_tokens": len(specials),
        "version": "v7",
    }
    rest = _rest(metadata, where)
    return {
        **rest,
        "config": rest.get("config", {}) | config,
        "vocab": [_entry(rank, token) for rank, token in enumerate(tokens)],
        "special_tokens": [
            {"rank": rank, "token_str": name, "is_control": True}
            for rank, name in enumerate(specials)
        ],
    }


def _rest(metadata: Mapping[str, Any], where: str) -> dict[str, Any]:
    try:
        rest = json.loads(str(metadata.get(REST, "{}")))
        if isinstance(rest, dict) and isinstance(rest.get("config", {}), dict):
            return rest
    except (ValueError, RecursionError):
        pass
    raise CheckpointError(f"{where}: its {REST} is not a JSON object; write it again")


def _entry(rank: int, token: bytes) -> dict[str, Any]:
    try:
        text: str | None = token.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    return {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": text}


def _tokens(values: Floats, count: int, where: str) -> list[bytes]:
    """The first `count` tokens."""
    with np.errstate(invalid="ignore"):
        packed = values.astype(np.uint8).tobytes()
    if not np.array_equal(np.frombuffer(packed, np.uint8), values):
        raise CheckpointError(f"{where}: its vocabulary is not made of bytes; write it again")
    tokens: list[bytes] = []
    position = 0
    while len(tokens) < count and position + 2 <= len(packed):
        length = int.from_bytes(packed[position : position + 2], "little")
        position += 2
        tokens.append(packed[position : position + length])
        position += length
    if len(tokens) < count or position > len(packed):
        raise CheckpointError(f"{where}: its vocabulary is cut short; write it again")
    return tokens
