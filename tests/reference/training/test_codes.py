"""The committed code space is the one of models/tiny, so its training can be continued."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.training.codec import SEMANTIC_SCALE
from flowvox.reference.training.codes import CodeSpace
from flowvox.reference.training.dataset import TINY_CODE_SPACE

TINY = Path(__file__).parents[3] / "models" / "tiny"


@pytest.mark.skipif(not TINY.exists(), reason="models/tiny is not in this checkout")
def test_semantic_centroids_are_the_packed_ones() -> None:
    checkpoint = Checkpoint.open(TINY)
    codebook = "audio_tokenizer.quantizer.semantic_codebook."
    usage = checkpoint.read(f"{codebook}cluster_usage")
    packed = checkpoint.read(f"{codebook}embedding_sum") / usage[:, None]
    space = CodeSpace.load(TINY_CODE_SPACE)
    np.testing.assert_allclose(space.centroids * SEMANTIC_SCALE, packed, rtol=1e-6)
