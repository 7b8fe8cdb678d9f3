"""A small random model that has spoken a little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowvox.quantizers.calibration.speech import Spoken
from flowvox.quantizers.calibration.texts import Line
from flowvox.reference.checkpoint import Checkpoint


@pytest.fixture
def micro(random_micro: Path) -> Checkpoint:
    return Checkpoint.open(random_micro)


@pytest.fixture
def spoken(micro: Checkpoint) -> list[Spoken]:
    """Two utterances of other lengths and voices, one of which ended; any codes will do."""
    rng = np.random.default_rng(0)
    width = micro.config.codec.acoustic_dim
    found = []
    for frames, voice, ended in ((5, "first", True), (8, "second", False)):
        semantic = rng.integers(0, micro.config.codec.semantic_codebook_size, (frames, 1))
        acoustic = rng.integers(0, micro.config.codec.acoustic_codebook_size, (frames, width))
        codes = np.concatenate([semantic, acoustic], axis=1).astype(np.int32)
        found.append(Spoken(Line("Hello there.", voice, 0), codes, ended))
    return found
