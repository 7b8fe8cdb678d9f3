"""Streaming codec decode: any number of frames at a time, always the same samples."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.errors import BundleError
from flowvox.graphs import decoder_state_specs

WHOLE_CHUNK = 64  # frames per call when decoding everything at once; bounds the attention matrices


class CodecStream:
    """The decoder and its state for one utterance."""

    def __init__(self, session: ort.InferenceSession, config: ModelConfig) -> None:
        self._session = session
        self._names = ["samples", *(s.name for s in decoder_state_specs(config.codec, "next"))]
        self._state = {
            spec.name: np.zeros([int(axis) for axis in spec.shape], dtype=np.float32)
            for spec in decoder_state_specs(config.codec, "state")
        }
        self._position = 0

    def decode(self, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """The next frames, codes [F, 37] without the +2 -> samples [F * frame_samples].

        Raises BundleError where the samples are not finite.
        """
        if len(codes) == 0:
            return np.zeros(0, dtype=np.float32)
        feeds = {
            "codes": codes[None].astype(np.int64),
            "position": np.array([self._position], dtype=np.int64),
            **self._state,
        }
        samples, *state = self._session.run(self._names, feeds)
        self._state = dict(zip(self._state, state, strict=True))
        self._position += len(codes)
        if not np.isfinite(samples).all():
            raise BundleError(
                "the codec produced values that are not finite; make the bundle again"
            )
        return samples[0]


def decode_whole(
    session: ort.InferenceSession, config: ModelConfig, codes: NDArray[np.int32]
) -> NDArray[np.float32]:
    """All frames of an utterance -> samples."""
    stream = CodecStream(session, config)
    parts = [stream.decode(codes[i : i + WHOLE_CHUNK]) for i in range(0, len(codes), WHOLE_CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
