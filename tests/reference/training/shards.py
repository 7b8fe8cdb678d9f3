"""Shards of random sound, so that the stages can be run without a teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flowvox.reference.training.codes import CodeSpace
from flowvox.reference.training.dataset import TINY_CODE_SPACE
from flowvox.reference.training.synth import FRAME

TINY = Path(__file__).parents[3] / "models" / "tiny"


def write_shard(file: Path, texts: list[str], frames: int) -> None:
    """Random sound under `texts`, `frames` codec frames each."""
    rng, count = np.random.default_rng(len(texts)), len(texts)
    mean = CodeSpace.load(TINY_CODE_SPACE).mean
    words = np.array([len(text.split()) for text in texts])
    spoken = [np.arange(frames) * n // frames for n in words]
    np.savez(
        file,
        audio=rng.integers(-999, 999, count * frames * FRAME).astype(np.int16),
        cycles=rng.integers(5, 24, count * frames).astype(np.uint8),
        envelopes=(mean + rng.normal(size=(count * frames, len(mean)))).astype(np.float16),
        slope=np.zeros(count * frames, np.float16),
        phoneme=rng.integers(0, 170, count * frames).astype(np.uint8),
        word=np.concatenate(spoken).astype(np.uint8),
        lengths=np.full(count, frames),
        voice=np.zeros(count, np.int64),
        words=words,
        texts=np.array(texts),
    )
