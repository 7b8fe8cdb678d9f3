"""Who says what during calibration, and that nobody is judged on it."""

from __future__ import annotations

import pytest

from flowvox.eval.suite import list_suites, load_suite
from flowvox.quantizers.calibration.texts import calibration_texts, script


def words(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


@pytest.mark.parametrize("name", list_suites())
def test_no_sentence_is_in_a_suite(name: str) -> None:
    judged = {words(sentence.text) for sentence in load_suite(name).sentences}
    for sentences in calibration_texts().values():
        assert not judged & {words(text) for text in sentences}


def test_every_voice_speaks_its_language() -> None:
    texts = calibration_texts()
    lines = script(["casual_female", "de_male", "hi_female"], 9)
    assert [line.voice for line in lines[:3]] == ["casual_female", "de_male", "hi_female"]
    for line in lines:
        language = line.voice.split("_")[0]
        assert line.text in texts[language if language in texts else "en"]
    assert len({(line.text, line.voice) for line in lines}) == 9
    assert len({line.seed for line in lines}) == 9


def test_a_language_with_few_sentences_repeats_them_with_other_noise() -> None:
    lines = script(["de_female"], 3 * len(calibration_texts()["de"]))
    assert len({line.text for line in lines}) == len(calibration_texts()["de"])
    assert len({line.seed for line in lines}) == len(lines)
