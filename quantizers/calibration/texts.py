"""Who says what during calibration: `texts.txt`, spread over the voices of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

DEFAULT = "en"


@dataclass(frozen=True)
class Line:
    """One utterance; noise is that of the seed."""

    text: str
    voice: str
    seed: int


def calibration_texts() -> dict[str, list[str]]:
    """Sentences by language, as they stand in `texts.txt`."""
    file = resources.files("flowvox.quantizers.calibration") / "texts.txt"
    found: dict[str, list[str]] = {}
    language = DEFAULT
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("["):
            language = line.strip("[]")
        elif line and not line.startswith("#"):
            found.setdefault(language, []).append(line)
    return found


def script(voices: Iterable[str], count: int) -> list[Line]:
    """`count` utterances, the voices in turn, in the languages that their names begin with ("de_male").

    A voice goes through the sentences of its language; every utterance has a seed of its own.
    """
    names, texts = sorted(voices), calibration_texts()
    said = dict.fromkeys(texts, 0)
    lines = []
    for number in range(count):
        voice = names[number % len(names)]
        prefix = voice.split("_")[0]
        language = prefix if prefix in texts else DEFAULT
        text = texts[language][said[language] % len(texts[language])]
        said[language] += 1
        lines.append(Line(text, voice, number))
    return lines
