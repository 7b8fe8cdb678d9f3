"""Voice -> vector: one small interface, and the GE2E network of PyPI's Resemblyzer behind it."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from flowvox.eval.packages import missing, require
from flowvox.eval.threads import one_thread

if TYPE_CHECKING:
    import torch

RATE, MELS, HIDDEN = 16000, 40, 256
WINDOW, HOP = 400, 160  # 25 ms and 10 ms
PARTIAL, STEP = 160, 80  # mel frames per partial utterance and between their starts
TARGET_DBFS = -30.0
SHORTEST_SECONDS = 1.0  # of speech, below which an embedding says nothing


class SpeakerEmbedder(Protocol):
    """Whatever tells voices apart."""

    @property
    def name(self) -> str:
        """What a report says compared the voices."""

    def embed(self, samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        """Unit vector of the voice in samples [n] at `rate` Hz; NaN if the samples hold NaN or Inf.

        Below SHORTEST_SECONDS the vector exists and means nothing; no samples raise ValueError.
        """


class Resemblyzer:
    """Three LSTM layers over 40 mel energies, a projection, unit length: [256] (Apache-2.0).

    Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification". Only the package's weights
    are used: its own module imports a voice-activity detector that no longer imports on current Python
    set-ups. Loads them on first use. Raises MissingPackageError without the eval extra.
    """

    name = "Resemblyzer"

    def __init__(self) -> None:
        require("speaker similarity", self.unavailable())

    @staticmethod
    def unavailable() -> str | None:
        """Why voices cannot be compared here, or None."""
        return missing("resemblyzer", "librosa", "soxr") or missing(
            "torch", install="flowvox[export,eval]"
        )

    @cached_property
    def _layers(self) -> tuple[torch.nn.LSTM, torch.nn.Linear]:
        import torch

        spec = find_spec("resemblyzer")
        assert spec is not None
        assert spec.origin is not None
        file = Path(spec.origin).parent / "pretrained.pt"
        state = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
        lstm = torch.nn.LSTM(MELS, HIDDEN, 3, batch_first=True)
        linear = torch.nn.Linear(HIDDEN, HIDDEN)
        for module, prefix in ((lstm, "lstm."), (linear, "linear.")):
            module.load_state_dict({name: state[prefix + name] for name in module.state_dict()})
        return lstm, linear

    def embed(self, samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        """See SpeakerEmbedder; at least 1.6 s of speech make a good vector."""
        import librosa
        import soxr
        import torch

        if not len(samples):
            raise ValueError("no samples to embed")
        if not np.isfinite(samples).all():
            return np.full(HIDDEN, np.nan, dtype=np.float32)
        wave = soxr.resample(samples, rate, RATE).astype(np.float32)
        level = 20 * np.log10(max(1e-6, float(np.sqrt(np.mean(wave**2)))))
        wave = wave * np.float32(10 ** ((TARGET_DBFS - level) / 20))
        mel = librosa.feature.melspectrogram(
            y=wave, sr=RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS
        )
        frames = np.pad(mel.T.astype(np.float32), ((0, max(0, PARTIAL - mel.shape[1])), (0, 0)))
        starts = range(0, len(frames) - PARTIAL + 1, STEP)
        parts = torch.from_numpy(np.stack([frames[s : s + PARTIAL] for s in starts]))
        lstm, linear = self._layers
        with one_thread(), torch.inference_mode():
            _, (state, _) = lstm(parts)
            vectors = torch.relu(linear(state[-1]))
            mean = torch.nn.functional.normalize(vectors, dim=1).mean(dim=0)
            return torch.nn.functional.normalize(mean, dim=0).numpy()


def similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Cosine of two unit vectors."""
    return float(a @ b)
