"""Everything about one synthesis."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvox.runtime.audio import Audio


@dataclass
class StageTimes:
    """Wall-clock seconds per stage; `frames` counts the frames they cover.

    prompt: the part of `backbone` that went into the prompt.
    """

    backbone: float = 0.0
    flow: float = 0.0
    codec: float = 0.0
    frames: int = 0
    prompt: float = 0.0

    def __add__(self, other: StageTimes) -> StageTimes:
        return StageTimes(
            self.backbone + other.backbone,
            self.flow + other.flow,
            self.codec + other.codec,
            self.frames + other.frames,
            self.prompt + other.prompt,
        )


@dataclass(frozen=True)
class Speech:
    """codes: int32 [frames, 37] without the +2; ended: the model stopped by itself, in every piece.

    first_audio_seconds: from the call to the first samples; compute_seconds: to the last ones.
    """

    audio: Audio
    codes: NDArray[np.int32]
    ended: bool
    voice: str
    times: StageTimes
    first_audio_seconds: float
    compute_seconds: float

    @property
    def rtf(self) -> float | None:
        """Compute time / audio time; None for an empty utterance."""
        return self.compute_seconds / self.audio.seconds if self.audio.seconds else None

    @property
    def codes_sha256(self) -> str:
        """sha256 of the codes as int32 little-endian bytes."""
        return hashlib.sha256(self.codes.astype("<i4").tobytes()).hexdigest()
