"""NF4 and FP4 through bitsandbytes itself, for comparison with the formats people know."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.weights import Bnb4Weights


def quantize_bnb4(weights: NDArray[np.float32], kind: str, block: int) -> Bnb4Weights:
    """weights [rows, columns] -> its "nf4" or "fp4". `check_recipe` has seen that it is installed."""
    logging.getLogger("bitsandbytes").setLevel(
        logging.CRITICAL
    )  # we only pack: no kernel is missed
    import torch
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(torch.from_numpy(weights), blocksize=block, quant_type=kind)
    rows, columns = weights.shape
    absmax = state.absmax.numpy().astype(np.float32)
    return Bnb4Weights(kind, rows, columns, block, packed.numpy().reshape(-1), absmax)
