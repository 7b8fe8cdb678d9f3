"""What two texts are compared on: one spelling for whatever sounds the same.

Whisper's English rules (Radford et al. 2022, appendix C; PyPI `whisper-normalizer`): "twenty-five
dollars" and "$25", "Dr." and "doctor", "don't" and "do not", "colour" and "color" become equal. On
top: digit groups are joined, because "ten thirty" comes out as 1030 and "10:30" as 10 30 or 10.30.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from flowvox.eval.packages import missing, require

_BETWEEN_DIGITS = re.compile(r"(?<=\d) (?=\d)")
_TIME = re.compile(r"(?<![\d.$£€])(\d{1,2})\.([0-5]\d)(?![\d.%])")  # 6.45, no price and no share


def unavailable() -> str | None:
    """Why texts cannot be compared here, or None."""
    return missing("whisper_normalizer")


def plain_words(text: str) -> str:
    """Lower-case words without punctuation, numbers in digits, single spaces; "" if nothing is left.

    Raises MissingPackageError without the eval extra.
    """
    words = _normalizer()(text.replace("’", "'")).split()
    spoken = " ".join(word for word in words if any(c.isalnum() for c in word))
    return _BETWEEN_DIGITS.sub("", _TIME.sub(r"\1 \2", spoken))


@lru_cache(maxsize=1)
def _normalizer() -> Callable[[str], str]:
    require("text comparison", unavailable())
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()
