"""Splitting of texts that are too long for one run of the model."""

from __future__ import annotations

import re

# Where a text may be cut, best first; a cut is the end of the match. Scripts without spaces end their
# sentences and clauses with marks of their own.
BOUNDARIES = (
    re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[”’」』）]*\s*|\n\s*"),
    re.compile(r"[,;:—–][\"'”’»)\]]*\s+|[、，；：]\s*"),
    re.compile(r"\s+"),
)


def split_text(text: str, longest: int) -> list[str]:
    """Pieces of at most `longest` characters; a text that fits is returned as it is.

    Each piece is as long as fits and ends with a sentence, else with a clause, else with a word, else
    anywhere. Between two pieces only white space is dropped.
    """
    if len(text) <= longest:
        return [text]
    pieces, start = [], 0
    while start < len(text):
        end = _cut(text, start, longest)
        piece = text[start:end].strip()
        if piece:
            pieces.append(piece)
        start = end
    return pieces


def _cut(text: str, start: int, longest: int) -> int:
    """Where the piece that begins at `start` ends."""
    end = start + longest
    if end >= len(text):
        return len(text)
    for boundary in BOUNDARIES:
        cuts = [match.end() for match in boundary.finditer(text, start, end)]
        # A cut in the first third would leave a scrap; the next kind of boundary does better.
        if cuts and cuts[-1] - start > longest // 3:
            return cuts[-1]
    return end
