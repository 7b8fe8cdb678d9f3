"""Audio as the API returns it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from flowvox.files import write_beside


@dataclass(frozen=True)
class Audio:
    """samples: float32 [n] mono; sample_rate in Hz."""

    samples: NDArray[np.float32]
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def wav_bytes(self) -> bytes:
        """A 16-bit WAV file; samples beyond [-1, 1] are clipped."""
        buffer = io.BytesIO()
        clipped = np.clip(self.samples, -1, 1)
        soundfile.write(buffer, clipped, self.sample_rate, format="WAV", subtype="PCM_16")
        return buffer.getvalue()

    def save(self, path: str | Path) -> None:
        """Write a 16-bit WAV file, beside and renamed."""
        write_beside(Path(path), self.wav_bytes())
