"""The flow session: hidden states that stay on the device in, what the host samples from out."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.runtime.binding import Memory, Rows, run_bound

OUTPUTS = ("semantic_logits", "latents")


class FlowRunner:
    """One binding of the session, for one caller at a time."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session, self.memory = session, Memory.of(session)
        self._binding = session.io_binding()

    def __call__(
        self, hidden: Rows, noise: NDArray[np.float32], schedule: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """hidden [B, dim], noise [B, 36] -> semantic logits [B, rows], latents [B, 36].

        The results are small and on the host; only they cross the border of a GPU.
        """
        hidden.bind(self._binding, "hidden", self.memory)
        self._binding.bind_cpu_input("noise", np.ascontiguousarray(noise))
        self._binding.bind_cpu_input("schedule", schedule)
        for name in OUTPUTS:
            self._binding.bind_output(
                name
            )  # anew: else the next call would write into these arrays
        run_bound(self._session, self._binding)
        logits, latents = (value.numpy() for value in self._binding.get_outputs())
        return logits, latents
