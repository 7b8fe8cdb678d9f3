"""The embedder tells the voices of the small model apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from flowvox import TTS
from flowvox.eval.speaker import Resemblyzer, SpeakerEmbedder, similarity

pytestmark = pytest.mark.skipif(  # not importorskip: the package is there and does not import
    Resemblyzer.unavailable() is not None, reason=Resemblyzer.unavailable() or ""
)

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def embedder() -> SpeakerEmbedder:
    return Resemblyzer()


def test_voices_are_nearer_to_themselves(embedder: SpeakerEmbedder) -> None:
    """A high and a low one; the others of the small model are registers of the same two."""
    tts, voices = TTS.load(threads=1), ("heart", "hart")
    pairs = (
        ("There is no such thing as a problem without a gift for you in its hands.",
         "Put things back where you found them."),
        ("If you wish to be happy for three days, get married.",
         "War is like love, it always finds a way."),
    )  # fmt: skip
    one, other = (
        {
            voice: np.sum(
                [embedder.embed(tts.say(t, voice=voice, seed=0).samples, 24000) for t in texts],
                axis=0,
            )
            for voice in voices
        }
        for texts in pairs
    )
    for voice in voices:
        nearest = max(other, key=lambda name: similarity(one[voice], other[name]))
        assert nearest == voice


def test_the_vector_has_length_one_and_ignores_volume(
    embedder: SpeakerEmbedder, speech: Samples
) -> None:
    vector = embedder.embed(speech, 24000)
    assert vector.dtype == np.float32
    assert similarity(vector, vector) == pytest.approx(1, abs=1e-5)
    assert similarity(vector, embedder.embed(speech / 4, 24000)) == pytest.approx(1, abs=1e-4)


def test_short_speech_has_a_vector_and_none_has_not(
    embedder: SpeakerEmbedder, speech: Samples
) -> None:
    assert np.isfinite(embedder.embed(speech[:2400], 24000)).all()
    with pytest.raises(ValueError, match="no samples"):
        embedder.embed(speech[:0], 24000)


def test_nan_is_like_nobody(embedder: SpeakerEmbedder, speech: Samples) -> None:
    broken = speech.copy()
    broken[5] = np.nan
    vectors = (embedder.embed(samples, 24000) for samples in (speech, broken))
    assert np.isnan(similarity(*vectors))
