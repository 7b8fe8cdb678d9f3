"""Word and character error rates: how much of a text was heard (jiwer, on `plain_words`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from flowvox.eval import plain_text
from flowvox.eval.packages import missing, require
from flowvox.eval.plain_text import plain_words


class Errors(NamedTuple):
    """Substitutions + deletions + insertions, and the words or characters that were to be said."""

    errors: int
    total: int


def unavailable() -> str | None:
    """Why error rates cannot be measured here, or None."""
    return missing("jiwer") or plain_text.unavailable()


def word_errors(said: str, heard: str) -> Errors:
    """Of one utterance. A text of which `plain_words` leaves nothing has a total of 0.

    Raises MissingPackageError without the eval extra.
    """
    jiwer = _jiwer()
    return _errors(jiwer.process_words(plain_words(said), plain_words(heard)))


def character_errors(said: str, heard: str) -> Errors:
    """Like word_errors; spaces between words are characters."""
    jiwer = _jiwer()
    return _errors(jiwer.process_characters(plain_words(said), plain_words(heard)))


def error_rate(counts: Iterable[Errors]) -> float:
    """Errors of all texts together over their total (over 1 if that is 0): may exceed 1."""
    counts = list(counts)
    return sum(c.errors for c in counts) / max(1, sum(c.total for c in counts))


def word_error_rate(said: list[str], heard: list[str]) -> float:
    """Word errors over words of all texts together."""
    return error_rate(word_errors(*pair) for pair in zip(said, heard, strict=True))


def character_error_rate(said: list[str], heard: list[str]) -> float:
    """Character errors over characters of all texts together."""
    return error_rate(character_errors(*pair) for pair in zip(said, heard, strict=True))


def _jiwer() -> Any:
    require("error rates", unavailable())
    import jiwer

    return jiwer


def _errors(out: Any) -> Errors:
    wrong = out.substitutions + out.deletions
    return Errors(wrong + out.insertions, wrong + out.hits)
