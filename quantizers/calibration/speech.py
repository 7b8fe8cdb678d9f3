"""What the model said during calibration, and its file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from flowvox.files import write_beside
from flowvox.quantizers.calibration.texts import Line

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class Spoken:
    """codes [F, 37] without the +2; ended: END follows."""

    line: Line
    codes: Codes
    ended: bool


def save_speech(path: Path, spoken: list[Spoken]) -> None:
    """Raises OutputError."""
    arrays = {f"codes.{number}": one.codes for number, one in enumerate(spoken)}
    ended = np.array([one.ended for one in spoken])
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays, ended=ended)
    write_beside(path, buffer.getvalue())


def load_speech(path: Path, lines: list[Line]) -> list[Spoken] | None:
    """What was said to these lines; None where the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [
                Spoken(line, arrays[f"codes.{number}"], bool(arrays["ended"][number]))
                for number, line in enumerate(lines)
            ]
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile):
        return None
