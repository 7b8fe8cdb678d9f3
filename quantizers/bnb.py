"""NF4 through bitsandbytes itself, for comparison with the format people know."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.weights import Nf4Weights


def quantize_nf4(weights: NDArray[np.float32], block: int) -> Nf4Weights:
    """weights [rows, columns] -> bitsandbytes' NF4. `check_recipe` has seen that it is installed."""
    logging.getLogger("bitsandbytes").setLevel(
        logging.CRITICAL
    )  # we only pack: no kernel is missed
    import torch
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(torch.from_numpy(weights), blocksize=block, quant_type="nf4")
    rows, columns = weights.shape
    absmax = state.absmax.numpy().astype(np.float32)
    return Nf4Weights(rows, columns, block, packed.numpy().reshape(-1), absmax)
