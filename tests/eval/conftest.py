"""Speech to measure, made by the built-in bundle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from flowvox import TTS


@pytest.fixture(scope="session")
def speech() -> NDArray[np.float32]:
    """About three seconds of a sentence, float32 at 24 kHz."""
    tts = TTS.load(threads=1)
    return tts.say("We cannot put off living until we are ready.", voice="heart", seed=0).samples


@pytest.fixture(scope="session")
def noise(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """White noise as long and, by its RMS, as loud as the speech."""
    white = np.random.default_rng(0).standard_normal(len(speech))
    return (white * np.sqrt(np.mean(speech**2))).astype(np.float32)
