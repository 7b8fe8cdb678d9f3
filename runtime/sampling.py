"""From logits and latents to codes (format B.5, B.6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.config import EMPTY_VALUE, SPECIAL_CODES
from flowvox.errors import BundleError


def semantic_value(logits: NDArray[np.float32], rows: int) -> int:
    """Greedy pick among values 1 (END) .. rows - 1; EMPTY and the padding rows never win.

    logits: [padded rows]. Raises BundleError where they are not finite.
    """
    valid = logits[EMPTY_VALUE + 1 : rows]
    if not np.isfinite(valid).all():
        raise BundleError(
            "the model produced values that are not finite; its weights are damaged or the recipe "
            "is too coarse, make the bundle again"
        )
    return int(valid.argmax()) + EMPTY_VALUE + 1


def acoustic_values(latents: NDArray[np.float32], levels: int) -> NDArray[np.int64]:
    """latents [n] -> codebook values with the +2: round((clamp(x) + 1) / 2 * (levels - 1)) + 2.

    Half to even, in float32 and in this order, as the reference does. Raises BundleError on NaN.
    """
    if not np.isfinite(latents).all():
        raise BundleError(
            "the flow head produced values that are not finite; make the bundle again"
        )
    scaled = (np.clip(latents, -1, 1) + np.float32(1)) / np.float32(2) * np.float32(levels - 1)
    return np.rint(scaled).astype(np.int64) + SPECIAL_CODES
