"""The runs of the model that a text needs: one where it fits, else one per piece.

A run fits when prompt and longest possible speech stay within the context, and within the budgets the
published model is deployed with (4096 positions, 2048 frames; it was trained on up to 180 s). That is
600 characters, about 40 s of speech. Frame t of the whole utterance uses noise row t, whichever piece
it falls in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.errors import PromptError
from flowvox.noise import frame_noise
from flowvox.prompt import FIXED_TOKENS, spoken_text
from flowvox.runtime.limits import second_frames, text_frames
from flowvox.runtime.text import split_text
from flowvox.tokenizer import Tokenizer

LONGEST_TEXT = 100_000  # characters; more is a mistake or a book, which is to be fed in chapters
PIECE_CHARACTERS = 600
PIECE_FRAMES = 2048
CONTEXT = 4096


@dataclass(frozen=True)
class Piece:
    """One run of the model. text: as it reads it; ids: tokens of `text`; frames: most it may last."""

    text: str
    ids: list[int]
    frames: int


def plan(text: str, tokenizer: Tokenizer, config: ModelConfig, voice_frames: int) -> list[Piece]:
    """The runs for `text` with a voice of that many rows. Raises PromptError, before any work."""
    _check_length(text)
    text = spoken_text(text, config)
    _check_length(text)  # numbers in words are longer
    context = min(config.backbone.max_positions, CONTEXT)
    room = context - voice_frames - FIXED_TOKENS
    # Room for as many tokens as characters (text in the vocabulary's languages has a quarter) and
    # for the frames of `text_frames`.
    fixed = text_frames(0, config)
    per_character = (text_frames(1000, config) - fixed) / 1000
    longest = min(PIECE_CHARACTERS, int((room - fixed) / (1 + per_character)))
    if longest < 1:
        raise PromptError(
            f"the voice takes {voice_frames} of the model's {context} positions, which leaves no room "
            "for a text; use another voice"
        )
    pieces = []
    for part in split_text(text, longest):
        ids = tokenizer.encode(part)
        frames = min(text_frames(len(part), config), PIECE_FRAMES, room - len(ids))
        if frames < 1:
            raise PromptError(
                f"the text takes {len(ids)} tokens, but {room} are left; write it in shorter sentences"
            )
        pieces.append(Piece(part, ids, frames))
    return pieces


def _check_length(text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise PromptError(f"the text has {len(text)} characters; at most {LONGEST_TEXT}, split it")


class Budget:
    """Noise rows handed out run by run, until `max_seconds` are spoken."""

    def __init__(
        self, pieces: list[Piece], seed: int, max_seconds: float | None, config: ModelConfig
    ) -> None:
        most = sum(piece.frames for piece in pieces)
        if max_seconds is not None:
            most = min(most, second_frames(max_seconds, config))
        self._noise = frame_noise(seed, most, config.codec.acoustic_dim)
        self._used = 0

    def rows(self, piece: Piece) -> NDArray[np.float32]:
        """Noise [T, 36] of the frames that `piece` may last; none are left when T is 0."""
        return self._noise[self._used : self._used + piece.frames]

    def spend(self, frames: int) -> None:
        """Say how many of the rows the run used."""
        self._used += frames


def chunk_sizes() -> Iterator[int]:
    """Frames per streamed chunk: 2, 3, 4, 6, 9, 12, 12, ...

    The first one early; growing by half, so that a player does not starve up to RTF 2/3; then few
    calls of the codec.
    """
    size = 2
    while True:
        yield size
        size = min(12, size + max(1, size // 2))
