"""Tekken, the byte-pair tokenizer of the checkpoint, on tiktoken (format A.6, B.1).

A text is split by the file's regular expression, then each piece is merged lowest rank first. No
bos/eos, no normalization; "[AUDIO]" typed by a user is plain text.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiktoken

from flowvox.errors import TokenizerError

MAX_VOCABULARY = 1 << 20
# tiktoken's merge is quadratic in a piece and its regex recurses on long runs; words of natural
# language are far shorter, so only pathological input is cut (at a character, nothing is lost).
LONGEST_RUN = 4096


class Tokenizer:
    """Text <-> token ids of one checkpoint."""

    def __init__(self, ranks: dict[bytes, int], pattern: str, specials: list[str]) -> None:
        self._specials = {name: rank for rank, name in enumerate(specials)}
        self.n_specials = len(specials)
        self.vocab_size = len(ranks) + len(specials)
        self._encoding = tiktoken.Encoding(
            "tekken", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
        )

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tekken.json. Raises TokenizerError in one line."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise TokenizerError(f"{path}: not found; a checkpoint has a tekken.json") from None
        except OSError as error:
            raise TokenizerError(f"{path}: cannot be read ({error})") from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, where: str) -> Tokenizer:
        """The bytes of a tekken.json. Raises TokenizerError that begins with `where`."""
        try:
            document = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise TokenizerError(f"{where}: not readable as JSON ({error})") from None
        try:
            return cls._from_document(document)
        except (KeyError, TypeError, AttributeError) as error:
            raise TokenizerError(
                f"{where}: not a tekken file ({type(error).__name__}: {error})"
            ) from None
        except ValueError as error:
            raise TokenizerError(f"{where}: {error}") from None

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> Tokenizer:
        config = document["config"]
        size, n_specials = config["default_vocab_size"], config["default_num_special_tokens"]
        if not isinstance(size, int) or not isinstance(n_specials, int):
            raise ValueError("vocabulary sizes should be whole numbers")
        if not 0 < n_specials < size <= MAX_VOCABULARY:
            raise ValueError(f"a vocabulary of {size} with {n_specials} specials is impossible")
        entries = document["vocab"][: size - n_specials]
        if len(entries) < size - n_specials:
            raise ValueError(
                f"only {len(entries)} of {size - n_specials} tokens; download it again"
            )
        ranks: dict[bytes, int] = {}
        for rank, entry in enumerate(entries):
            if entry["rank"] != rank:
                raise ValueError(f"token {rank} says it has rank {entry['rank']}")
            try:
                token = base64.b64decode(entry["token_bytes"], validate=True)
            except (binascii.Error, TypeError):
                raise ValueError(f"the bytes of token {rank} are not valid base64") from None
            if ranks.setdefault(token, rank) != rank:
                raise ValueError(f"token {rank} repeats token {ranks[token]}")
        if any(ranks.get(bytes([value])) != value for value in range(256)):
            raise ValueError("the first 256 tokens should be the single bytes")
        specials = [f"<SPECIAL_{i}>" for i in range(n_specials)]
        # Files older than v7 do not list their control tokens.
        for entry in document.get("special_tokens", [])[:n_specials]:
            if not 0 <= entry["rank"] < n_specials or not isinstance(entry["token_str"], str):
                raise ValueError(f"special token {entry['rank']} is out of range")
            specials[entry["rank"]] = entry["token_str"]
        try:
            return cls(ranks, config["pattern"], specials)
        except Exception as error:  # noqa: BLE001 - tiktoken's Rust side has no narrower type
            raise ValueError(f"the splitting pattern does not work ({error})") from None

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; lone surrogates become U+FFFD."""
        clean = text.encode("utf-8", errors="replace").decode("utf-8")
        ids: list[int] = []
        for part in _bounded(clean):
            ids += self._encoding.encode_ordinary(part)
        return [rank + self.n_specials for rank in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; special ids are left out."""
        ranks = [i - self.n_specials for i in ids if i >= self.n_specials]
        return self._encoding.decode(ranks)

    def special_id(self, name: str) -> int:
        """Id of a control token such as "[AUDIO]". Raises TokenizerError."""
        try:
            return self._specials[name]
        except KeyError:
            raise TokenizerError(f"tekken.json has no special token {name}") from None


def _bounded(text: str) -> list[str]:
    """The text in parts, none with a run of more than LONGEST_RUN spaces or non-spaces."""
    if len(text) <= LONGEST_RUN:
        return [text]
    parts, start, run, kind = [], 0, 0, None
    for i, character in enumerate(text):
        space = character.isspace()
        run = run + 1 if space is kind else 1
        kind = space
        if run > LONGEST_RUN:
            parts.append(text[start:i])
            start, run = i, 1
    parts.append(text[start:])
    return parts
