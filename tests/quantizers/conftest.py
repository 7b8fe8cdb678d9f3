"""A small calibration of models/tiny: real activations, in a few seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvox.quantizers.calibration import cache
from flowvox.quantizers.calibration.cache import Calibration
from flowvox.reference.checkpoint import Checkpoint


@pytest.fixture(scope="session")
def tiny_calibration(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """Two utterances, 24 frames at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "UTTERANCES", 2)
        patch.setattr(cache, "MAX_FRAMES", 24)
        folder = tmp_path_factory.mktemp("calibration")
        return cache.calibrate(Checkpoint.open(tiny), "tiny", folder=folder)
