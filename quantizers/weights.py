"""Encoded weights: what a quantizer hands to an exporter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import RecipeError
from flowvox.quantizers.blocks import pack, unpack

LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class FloatWeights:
    """values: float32 or float16, any shape."""

    values: NDArray[np.float32] | NDArray[np.float16]

    @classmethod
    def stored(cls, values: NDArray[np.float32], *, half: bool) -> FloatWeights:
        """Round to float16 if `half`. Raises RecipeError where a value does not fit."""
        if not half:
            return cls(values)
        if values.size and float(np.abs(values).max()) > LARGEST_HALF:
            raise RecipeError("a weight is too large for float16; store this tensor as float32")
        return cls(values.astype(np.float16))

    def transposed(self) -> FloatWeights:
        """[out, in] -> [in, out], as MatMul wants it."""
        turned: NDArray[np.float32] = np.ascontiguousarray(self.values.T)
        return FloatWeights(turned)

    def dequantized(self) -> NDArray[np.float32]:
        """float32 values as the graph computes with them."""
        return self.values.astype(np.float32)


@dataclass(frozen=True)
class BlockWeights:
    """MatMulNBits blocks of a matrix [rows, columns]: scale (level - zero).

    packed: uint8 [rows, blocks, block * bits / 8], levels, the first in the lowest bits; scales:
    [rows, blocks], float16, or float32 where they were taken over from a format with finer scales;
    zeros: uint8 [rows, blocks], None for 2^(bits-1) everywhere (symmetric). The last block of a row is
    padded with zeros.
    """

    bits: int
    block: int
    columns: int
    packed: NDArray[np.uint8]
    scales: NDArray[np.float16] | NDArray[np.float32]
    zeros: NDArray[np.uint8] | None = None

    def packed_zeros(self) -> NDArray[np.uint8]:
        """Zero points as they are stored: uint8 [rows, blocks * bits / 8, rounded up]."""
        assert self.zeros is not None
        padding = -self.zeros.shape[1] % (8 // self.bits)
        return pack(np.pad(self.zeros, ((0, 0), (0, padding))), self.bits)

    def dequantized(self) -> NDArray[np.float32]:
        """float32 [rows, columns]."""
        values = unpack(self.packed, self.bits)
        zeros: Any = 1 << (self.bits - 1) if self.zeros is None else self.zeros[..., None]
        centred = values.astype(np.float32) - zeros
        wide = centred * self.scales.astype(np.float32)[..., None]
        return wide.reshape(len(values), -1)[:, : self.columns]


@dataclass(frozen=True)
class ChannelWeights:
    """A matrix [channels, inputs] in bytes, for products with 8-bit activations.

    levels: int8 [channels, inputs] in [-64, 64]; scales: float32 [channels].
    """

    levels: NDArray[np.int8]
    scales: NDArray[np.float32]

    def dequantized(self) -> NDArray[np.float32]:
        """float32 [channels, inputs]."""
        values: NDArray[np.float32] = self.levels.astype(np.float32) * self.scales[:, None]
        return values


@dataclass(frozen=True)
class ByteWeights:
    """A matrix or convolution [n, ...] in bytes, multiplied as float32.

    levels: int8 [n, ...]; scales: float32 [n].
    """

    levels: NDArray[np.int8]
    scales: NDArray[np.float32]

    @property
    def aligned_scales(self) -> NDArray[np.float32]:
        """[n, 1, ...], to be multiplied with the levels."""
        return self.scales.reshape(-1, *[1] * (self.levels.ndim - 1))

    def dequantized(self) -> NDArray[np.float32]:
        """float32 [n, ...]."""
        values: NDArray[np.float32] = self.levels.astype(np.float32) * self.aligned_scales
        return values


@dataclass(frozen=True)
class Bnb4Weights:
    """bitsandbytes' 4-bit blocks over the flattened matrix [rows, columns].

    kind: "nf4" or "fp4"; packed: uint8, two codes a byte; absmax: float32, one per `block` values.
    """

    kind: str
    rows: int
    columns: int
    block: int
    packed: NDArray[np.uint8]
    absmax: NDArray[np.float32]


@dataclass(frozen=True)
class DynamicWeights:
    """A matrix [out, in] that stays float32 until optimum quantizes the finished graph."""

    values: NDArray[np.float32]


MatrixWeights = (
    FloatWeights | BlockWeights | ChannelWeights | ByteWeights | Bnb4Weights | DynamicWeights
)
