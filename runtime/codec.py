"""Streaming codec decode: any number of frames at a time, always the same samples."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.errors import BundleError
from flowvox.runtime.binding import Memory, run_bound

WHOLE_CHUNK = 64  # frames per call when decoding everything at once; bounds the attention matrices


class CodecStream:
    """The decoder and its state for one utterance; the state stays on the device.

    There are two sets of state values: a call reads one and writes the other.
    """

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session, memory = session, Memory.of(session)
        declared = [i for i in session.get_inputs() if i.name.startswith("state.")]
        self._names = [value.name.removeprefix("state") for value in declared]
        self._state, self._next = ([memory.zeros(value) for value in declared] for _ in range(2))
        self._position = 0

    def decode(self, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """The next frames, codes [F, 37] without the +2 -> samples [F * frame_samples].

        Raises BundleError where the samples are not finite.
        """
        if len(codes) == 0:
            return np.zeros(0, dtype=np.float32)
        binding = self._session.io_binding()
        binding.bind_cpu_input("codes", codes[None].astype(np.int64))
        binding.bind_cpu_input("position", np.array([self._position], dtype=np.int64))
        binding.bind_output("samples")
        for name, before, after in zip(self._names, self._state, self._next, strict=True):
            binding.bind_ortvalue_input(f"state{name}", before)
            binding.bind_ortvalue_output(f"next{name}", after)
        run_bound(self._session, binding)
        samples: NDArray[np.float32] = binding.get_outputs()[0].numpy()
        self._state, self._next = self._next, self._state
        self._position += len(codes)
        if not np.isfinite(samples).all():
            raise BundleError(
                "the codec produced values that are not finite; make the bundle again"
            )
        return samples[0]


def decode_whole(session: ort.InferenceSession, codes: NDArray[np.int32]) -> NDArray[np.float32]:
    """All frames of an utterance -> samples."""
    stream = CodecStream(session)
    parts = [stream.decode(codes[i : i + WHOLE_CHUNK]) for i in range(0, len(codes), WHOLE_CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
