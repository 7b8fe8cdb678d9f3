"""Values that stay on the device between calls: memory of a session's provider, and rows in it.

A session that is bound to device memory (onnxruntime's I/O binding) copies neither its inputs from the
host nor its outputs back: KV cache, hidden states and the codec's state never leave a GPU. On the CPU
the same code binds plain memory. A run ends synchronized: what one session wrote another may read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.errors import FlowvoxError
from flowvox.runtime.providers import CUDA

NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}


def run_bound(
    session: ort.InferenceSession, binding: ort.IOBinding, options: ort.RunOptions | None = None
) -> None:
    """Run a session on what is bound. Raises FlowvoxError where the device fails.

    A GPU that onnxruntime was not built for, or whose memory is full, fails only here.
    """
    try:
        session.run_with_iobinding(binding, options)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises bare C++ exceptions
        provider, first = session.get_providers()[0], str(error).strip().splitlines()[0]
        raise FlowvoxError(
            f"{provider} failed ({first}); see flowvox doctor --probe, or use --device cpu"
        ) from None


@dataclass(frozen=True)
class Memory:
    """The memory that a provider computes in: device "cpu" or "cuda", and which of them."""

    device: str = "cpu"
    index: int = 0

    @classmethod
    def of(cls, session: ort.InferenceSession) -> Memory:
        """That of a session which is open. TensorRT's runs on CUDA's, which always follows it."""
        if CUDA not in session.get_providers():
            return cls()
        return cls("cuda", int(session.get_provider_options()[CUDA].get("device_id", 0)))

    def put(self, array: NDArray[Any]) -> ort.OrtValue:
        """The array in this memory: a copy on a GPU, the array itself on the CPU."""
        return ort.OrtValue.ortvalue_from_numpy(array, self.device, self.index)

    def zeros(self, declared: ort.NodeArg, **axes: int) -> ort.OrtValue:
        """Zeros for an input or output of a session; its symbolic axes are given by name."""
        shape = [axes[axis] if isinstance(axis, str) else axis for axis in declared.shape]
        return self.put(np.zeros(shape, NUMPY_TYPES[declared.type]))


@dataclass(frozen=True)
class Rows:
    """`count` rows from `first` on of a float32 value [1, rows, dim] or [rows, dim], where it lies.

    They are valid until the value is written again.
    """

    value: ort.OrtValue
    first: int
    count: int

    @classmethod
    def of(cls, value: ort.OrtValue) -> Rows:
        return cls(value, 0, value.shape()[-2])

    def last(self) -> Rows:
        """The last row alone."""
        return Rows(self.value, self.first + self.count - 1, 1)

    def bind(self, binding: ort.IOBinding, name: str, memory: Memory) -> None:
        """Make them the input `name` [count, dim], without a copy."""
        dim = self.value.shape()[-1]
        offset = self.first * dim * np.dtype(np.float32).itemsize
        binding.bind_input(
            name,
            memory.device,
            memory.index,
            np.float32,
            [self.count, dim],
            self.value.data_ptr() + offset,
        )

    def numpy(self) -> NDArray[np.float32]:
        """A copy on the host, [count, dim]."""
        values: NDArray[np.float32] = self.value.numpy()
        return values.reshape(-1, values.shape[-1])[self.first : self.first + self.count].copy()
