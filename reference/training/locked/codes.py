"""The phase-locked code space, fixed before the parts of the model are trained on it.

Acoustic value 0 is the pitch in the middle of the frame, in whole periods per frame, value 1 the
share of it that is voiced, the other 34 are linear in the envelopes of the frame, bent into (-1,
1): space.py found them. Each is rounded to the codec's 21 levels. Because the codes are fixed
before any training, the parts of the model can be trained at one time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.reference.training.locked.features import FLOORS
from flowvox.reference.training.locked.glides import MIN_CYCLES

LEVELS = 21

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CodeSpace:
    """mean [960] of the envelopes; basis [960, 34]; bias [34].

    scale [34]: how far the envelopes move per unit of a value (root of the summed squares, nats).
    """

    mean: Array
    basis: Array
    bias: Array
    scale: Array

    def values(self, envelopes: Array) -> Array:
        """Envelopes [K, 960] -> [K, 34] in (-1, 1)."""
        centred = np.maximum(envelopes, FLOORS) - self.mean
        return np.tanh(centred @ self.basis + self.bias)

    def acoustic(self, envelopes: Array, cycles: NDArray[np.integer], voiced: Array) -> Array:
        """-> continuous acoustic latents [K, 36] in [-1, 1] (before rounding)."""
        return np.concatenate([excitation(cycles, voiced), self.values(envelopes)], axis=1)

    def save(self, path: Path) -> None:
        """An .npz file."""
        np.savez(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls) -> CodeSpace:
        """The committed space."""
        file = resources.files("flowvox.reference.training.locked") / "code_space.npz"
        with file.open("rb") as opened:
            return cls(**dict(np.load(opened)))


def excitation(cycles: NDArray[np.integer], voiced: Array) -> Array:
    """Periods per frame [K], voiced share [K] -> acoustic values 0 and 1: [K, 2]."""
    pitch = (cycles - (MIN_CYCLES - 1)) / ((LEVELS - 1) / 2) - 1
    both = np.stack([pitch, 2 * voiced - 1], axis=1)
    return np.clip(both, -1, 1).astype(np.float32)


def rounded(latents: Array) -> NDArray[np.uint8]:
    """Latents in [-1, 1] -> codes 0..20, half to even."""
    return np.rint((latents + 1) / 2 * (LEVELS - 1)).astype(np.uint8)
