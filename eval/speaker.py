"""Speaker similarity with the GE2E network of PyPI's Resemblyzer (Apache-2.0).

Only the package's weights are used: its own module imports a voice-activity detector that no longer
imports on current Python set-ups. Three LSTM layers over 40 mel energies, a projection, unit length
(Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification").
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import MissingPackageError

RATE, MELS, HIDDEN = 16000, 40, 256
WINDOW, HOP = 400, 160  # 25 ms and 10 ms
PARTIAL, STEP = 160, 80  # mel frames per partial utterance and between their starts
TARGET_DBFS = -30.0


class SpeakerEmbedder:
    """Raises MissingPackageError without the eval extra."""

    def __init__(self) -> None:
        spec = find_spec("resemblyzer")
        if spec is None or spec.origin is None or find_spec("librosa") is None:
            raise MissingPackageError('speaker similarity needs pip install "flowvox[eval]"')
        import torch

        file = Path(spec.origin).parent / "pretrained.pt"
        state = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
        self._lstm = torch.nn.LSTM(MELS, HIDDEN, 3, batch_first=True)
        self._linear = torch.nn.Linear(HIDDEN, HIDDEN)
        for module, prefix in ((self._lstm, "lstm."), (self._linear, "linear.")):
            names = module.state_dict()
            module.load_state_dict({name: state[prefix + name] for name in names})

    def embed(self, samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        """Unit vector [256] of a voice; at least 1.6 s of speech make sense."""
        import librosa
        import soxr
        import torch

        wave = soxr.resample(samples, rate, RATE).astype(np.float32)
        level = 20 * np.log10(max(1e-6, float(np.sqrt(np.mean(wave**2)))))
        wave = wave * np.float32(10 ** ((TARGET_DBFS - level) / 20))
        mel = librosa.feature.melspectrogram(
            y=wave, sr=RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS
        )
        frames = np.pad(mel.T.astype(np.float32), ((0, max(0, PARTIAL - mel.shape[1])), (0, 0)))
        starts = range(0, len(frames) - PARTIAL + 1, STEP)
        parts = torch.from_numpy(np.stack([frames[s : s + PARTIAL] for s in starts]))
        with torch.inference_mode():
            _, (state, _) = self._lstm(parts)
            vectors = torch.relu(self._linear(state[-1]))
            mean = torch.nn.functional.normalize(vectors, dim=1).mean(dim=0)
            return torch.nn.functional.normalize(mean, dim=0).numpy()


def similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Cosine of two unit vectors."""
    return float(a @ b)
