"""Splitting of texts that are too long for one run of the model."""

from __future__ import annotations

import re

SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+")
CLAUSE_END = re.compile(r"(?<=[,;:、，；：—])\s*")
WORD_END = re.compile(r"(?<=\s)")


def split_text(text: str, longest: int) -> list[str]:
    """Pieces of at most `longest` characters that together are the text, edges stripped.

    Split at ends of sentences, then clauses, then words, and inside a word only if it alone is
    longer; neighbours are joined again as long as they fit.
    """
    pieces = [text]
    for boundary in (SENTENCE_END, CLAUSE_END, WORD_END):
        pieces = [
            part
            for piece in pieces
            for part in (boundary.split(piece) if len(piece) > longest else [piece])
        ]
    pieces = [piece[i : i + longest] for piece in pieces for i in range(0, len(piece), longest)]
    joined: list[str] = []
    for piece in (piece.strip() for piece in pieces):
        if piece and joined and len(joined[-1]) + 1 + len(piece) <= longest:
            joined[-1] = f"{joined[-1]} {piece}"
        elif piece:
            joined.append(piece)
    return joined
