"""Abbreviated titles -> words, in English, for models that were trained on words only.

Such a model takes the stop of "Dr." for the end of a sentence.
"""

from __future__ import annotations

import re

TITLES = {
    "Capt": "Captain", "Col": "Colonel", "Dr": "Doctor", "Gen": "General", "Gov": "Governor",
    "Lt": "Lieutenant", "Maj": "Major", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz",
    "Prof": "Professor", "Rev": "Reverend", "Sen": "Senator", "Sgt": "Sergeant",
}  # fmt: skip
WITHOUT_STOP = ("Dr", "Mr", "Mrs", "Ms")  # as they are written in Britain
_BEFORE_A_NAME = re.compile(
    rf"(?<![\w.])(?:({'|'.join(TITLES)})\.|({'|'.join(WITHOUT_STOP)}))(?= (?P<initial>\w))"
)


def titles_in_words(text: str) -> str:
    """`text` with the titles before names spelled out: "Dr. Patel" -> "Doctor Patel".

    A title is only what a capital follows, after a space: "Patel, Dr." stays.
    """
    return _BEFORE_A_NAME.sub(_spelled_out, text)


def _spelled_out(match: re.Match[str]) -> str:
    return TITLES[match[1] or match[2]] if match["initial"].isupper() else match[0]
