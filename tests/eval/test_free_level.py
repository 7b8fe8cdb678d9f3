"""The free-running level: one utterance judged, beside the baseline's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flowvox.eval.artifact import Spoken
from flowvox.eval.ears import Heard
from flowvox.eval.free_level import describe, judge, length_spread, lengths, voice_centroid
from flowvox.eval.suite_data import Sentence, Utterance

RATE = 24000
FRAME = 1920  # samples: 80 ms
NOTHING = Heard()


def spoken(frames: int, *, ended: bool = True, gap: float = 0.0, level: float = 0.3) -> Spoken:
    """A tone of so many frames with a silent gap of so many seconds in its middle."""
    samples = (level * np.sin(np.arange(frames * FRAME) / 20)).astype(np.float32)
    middle, half = len(samples) // 2, int(gap * RATE / 2)
    samples[middle - half : middle + half] = 0
    return Spoken(np.zeros((frames, 37), dtype=np.int32), samples, ended)


def figures(speech: Spoken, baseline: Spoken | None = None, **heard: Any) -> dict[str, Any]:
    rows = judge("Go on.", speech, baseline or spoken(50), Heard(**heard), np.eye(3)[0])
    return {name: row.ravel().tolist() for name, row in rows.items()}


def test_good_speech() -> None:
    assert figures(spoken(50)) == {
        "not_ended": [0], "long_silence": [0], "clipped": [0], "silent": [0], "duration_ratio": [1],
        "early_stop": [0],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("speech", "wrong"),
    [
        (spoken(50, ended=False), {"not_ended"}),
        (spoken(50, gap=1.2), {"long_silence"}),
        (spoken(50, gap=0.8), set()),
        (spoken(50, level=1.0), {"clipped"}),
        (spoken(50, level=0.0), {"silent"}),
        (spoken(29), {"early_stop"}),
        (spoken(30), set()),
        (Spoken(np.zeros((0, 37), np.int32), np.zeros(0, np.float32), True), {"silent", "early_stop"}),
    ],
    ids=["endless", "gap", "pause", "clipped", "silent", "short", "not so short", "nothing"],
)  # fmt: skip
def test_what_is_wrong_is_said(speech: Spoken, wrong: set[str]) -> None:
    found = figures(speech)
    flags = {"not_ended", "long_silence", "clipped", "silent", "early_stop"}
    assert {name for name in flags if found[name] == [1]} == wrong


def test_against_a_baseline_that_said_nothing_there_is_no_length() -> None:
    nothing = Spoken(np.zeros((0, 37), np.int32), np.zeros(0, np.float32), True)
    assert lengths(spoken(5), nothing) == {}
    assert "early_stop" not in figures(spoken(5), nothing)


def test_errors_are_rows_of_errors_and_words() -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("whisper_normalizer")
    assert figures(spoken(50), text="go")["wer"] == [1, 2]
    assert figures(spoken(50), text="Go on")["cer"][0] == 0
    assert figures(spoken(50), text="")["wer"] == [2, 2]
    looping = figures(spoken(50), text="thanks for watching " * 30)
    assert looping["wer"] == [2, 2]  # all of it is wrong, once


def test_similarity_is_to_the_voice() -> None:
    assert figures(spoken(50), voice=np.array([0.6, 0.8, 0.0]))["similarity"] == [0.6]
    assert "similarity" not in figures(spoken(50))


def test_opinions_pass_through() -> None:
    assert figures(spoken(50), opinions={"mos": 3.5})["mos"] == [3.5]


def test_a_voice_is_the_unit_mean_of_its_other_sentences() -> None:
    def said(sentence: str, voice: str, seed: int = 0) -> Utterance:
        return Utterance(Sentence(sentence, "Go on.", (), "plain"), voice, seed)

    heard = [
        (said("a", "heart"), Heard(voice=np.array([3.0, 4.0]))),
        (said("a", "heart", seed=1), Heard(voice=np.array([4.0, 3.0]))),
        (said("b", "heart"), Heard(voice=np.array([1.0, 0.0]))),
        (said("c", "heart"), Heard(voice=np.array([0.0, 1.0]))),
        (said("a", "michael"), Heard(voice=np.array([0.0, 2.0]))),
        (said("d", "heart"), NOTHING),
    ]
    centroid = voice_centroid(heard, said("a", "heart", seed=1))
    np.testing.assert_allclose(centroid, [0.5**0.5, 0.5**0.5])  # no seed of the sentence itself
    np.testing.assert_allclose(voice_centroid(heard, said("b", "michael")), [0, 1])
    assert voice_centroid(heard, said("a", "michael")) is None
    assert voice_centroid(heard, said("a", "emma")) is None


def test_spread_over_seeds() -> None:
    said = {"a/heart/0": spoken(40), "a/heart/1": spoken(60), "b/heart/0": spoken(10)}
    said["c/heart/0"] = said["c/heart/1"] = Spoken(np.zeros((0, 37), np.int32), np.zeros(0, np.float32), True)  # fmt: skip
    spread = {key: row.tolist() for key, row in length_spread(said).items()}
    assert spread == {"a/heart": [0.2], "c/heart": [0.0]}


def test_the_line_in_the_report() -> None:
    utterance = Utterance(Sentence("plain-01", "Go on.", (), "plain"), "heart", 1)
    speech = spoken(25, ended=False)
    rows = judge("Go on.", speech, speech, NOTHING, None)
    assert describe(utterance, speech, NOTHING, rows) == {
        "id": "plain-01", "text": "Go on.", "voice": "heart", "seed": 1, "wer": None, "cer": None,
        "similarity": None, "mos": None, "seconds": 2.0, "heard": None, "ended": False, "audio": None,
        "spectrogram": None,
    }  # fmt: skip
    rows |= {"wer": np.array([[1.0, 4.0]]), "similarity": np.array([0.5])}
    line = describe(utterance, speech, Heard("go", None, {"mos": 3.0}), rows)
    assert (line["wer"], line["cer"], line["similarity"], line["mos"], line["heard"]) == (0.25, None, 0.5, 3.0, "go")  # fmt: skip
