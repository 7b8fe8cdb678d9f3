"""The interface of a block format, and the registry of those there are.

A matrix [rows, columns] is stored row by row; a row is a sequence of blocks of `weights` weights in
`size` bytes each. Layouts: ggml-common.h of llama.cpp; all numbers are little-endian.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

FORMATS: dict[str, type[BlockFormat]] = {}
TYPES: dict[int, type[BlockFormat]] = {}


class BlockFormat(ABC):
    """One format. Subclasses register themselves under their name and number.

    name: as recipes spell it; type_id: ggml's number of the type; weights, size: weights and bytes of
    one block.
    """

    name: ClassVar[str]
    type_id: ClassVar[int]
    weights: ClassVar[int]
    size: ClassVar[int]

    def __init_subclass__(cls) -> None:
        FORMATS[cls.name] = cls
        TYPES[cls.type_id] = cls

    @staticmethod
    @abstractmethod
    def quantize(blocks: Floats, importance: Floats | None = None) -> Bytes:
        """Finite float32 [n, weights] -> uint8 [n, size].

        importance: what a squared error of each weight counts, >= 0, same shape as `blocks`. Formats
        without a search round to nearest whatever it says.
        """

    @staticmethod
    @abstractmethod
    def dequantize(data: Bytes) -> Floats:
        """uint8 [n, size] -> float32 [n, weights], bit for bit what gguf-py computes."""


def half(data: Bytes) -> Floats:
    """A float16 of each block, bytes [n, 2] -> float32 [n, 1]."""
    return np.ascontiguousarray(data).view("<f2").astype(np.float32)


def half_bytes(values: Floats) -> Bytes:
    """float32 [n, 1] -> float16 bytes [n, 2]."""
    return values.astype("<f2").view(np.uint8)


def smallest_kept(values: Floats) -> Floats:
    """Rounded to float16, but what is not zero does not become zero."""
    rounded = values.astype(np.float16).astype(np.float32)
    tiny = np.copysign(np.float32(2.0**-24), values)
    return np.where((rounded == 0) & (values != 0), tiny, rounded)


def inverse(values: Floats) -> Floats:
    """1 / x, and 0 where x is 0 or so small that its inverse is no float32."""
    with np.errstate(divide="ignore", over="ignore"):
        result = np.divide(np.float32(1), values)
    return np.where(np.isfinite(result), result, np.float32(0))
