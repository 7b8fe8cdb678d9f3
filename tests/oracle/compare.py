"""A model in both spellings, and how far apart two results are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import VoxtralTTS, load_model
from tests.oracle.layers import Array, Tensors

EXACT = 1e-9  # float64 against float64; measured at most 5e-15
NOTICED = 1e-4  # what a wrong formula moves at the least; the smallest measured was 7e-4


class Pair(NamedTuple):
    """One checkpoint: the torch model in float64, and its tensors for the oracle."""

    path: Path
    config: ModelConfig
    model: VoxtralTTS
    tensors: Tensors


def load_pair(path: Path) -> Pair:
    checkpoint = Checkpoint.open(path)
    tensors = {name: checkpoint.read(name).astype(np.float64) for name in checkpoint.shapes}
    return Pair(path, checkpoint.config, load_model(checkpoint, torch.float64), tensors)


def difference(ours: object, expected: object) -> float:
    """Largest deviation, relative to the largest expected value; infinite for other shapes."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return float(np.abs(a - b).max() / np.abs(b).max()) if a.shape == b.shape else math.inf


def random_codes(config: ModelConfig, frames: int, seed: int) -> NDArray[np.int64]:
    """Codes without the +2 [frames, 1 + n_acoustic]."""
    rng, codec = np.random.default_rng(seed), config.codec
    semantic = rng.integers(codec.semantic_codebook_size, size=(frames, 1))
    acoustic = rng.integers(codec.acoustic_codebook_size, size=(frames, codec.acoustic_dim))
    return np.concatenate([semantic, acoustic], axis=1)


def normal(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)
