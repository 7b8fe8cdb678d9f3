"""A way to quantize the layers of a model, and what it makes of one matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flowvox.quantizers.folding.preparation import Statistics
from flowvox.source import ModelSource

Floats = NDArray[np.float32]
Rounding = Callable[[Tensor], Tensor]
SCALE_BITS = 16  # of scales and float zero points, whatever width a tool happens to store


@dataclass(frozen=True)
class Encoded:
    """What is left of a matrix [rows, columns], the bits it takes, and how its inputs are rounded."""

    values: Floats
    bits: float
    inputs: Rounding | None = None


@dataclass(frozen=True)
class Method:
    """encode: from the matrices' names, the source and statistics of their inputs to all of them.

    tool: whose it is; rotation: how the model is turned first; notes: what one should know.
    """

    name: str
    tool: str
    encode: Callable[[Sequence[str], ModelSource, Statistics], Mapping[str, Encoded]]
    rotation: str = "none"
    notes: str = ""
