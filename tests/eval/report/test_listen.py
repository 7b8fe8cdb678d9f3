"""Worst utterances first, beside the baseline's, with their recordings."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from flowvox.eval.report.listen import SHOWN, heard_words, load_sound, worst


def test_worst_first_by_errors_then_by_similarity(report: dict[str, Any]) -> None:
    baseline, bundle = report["bundles"][0], report["bundles"][3]
    numbers = [(0.1, 0.9), (None, 0.1), (0.5, 0.8), (0.5, 0.7), (0.5, None), (0.0, 0.2), (0.0, 0.1)]
    bundle["utterances"] = bundle["utterances"][: len(numbers)]
    for utterance, (wer, similarity) in zip(bundle["utterances"], numbers, strict=True):
        utterance |= {"wer": wer, "similarity": similarity}
    chosen = [(p.utterance["wer"], p.utterance["similarity"]) for p in worst(bundle, baseline)]
    assert chosen == [(0.5, 0.7), (0.5, 0.8), (0.5, None), (0.1, 0.9), (0.0, 0.1), (0.0, 0.2)]
    assert len(chosen) == SHOWN


def test_pairs_share_text_voice_and_seed(report: dict[str, Any]) -> None:
    baseline, bundle = report["bundles"][0], report["bundles"][2]
    for pair in worst(bundle, baseline):
        assert pair.baseline is not None
        assert all(pair.baseline[key] == pair.utterance[key] for key in ("id", "voice", "seed"))
    assert all(pair.baseline is None for pair in worst(bundle, None))


def test_a_recording_is_embedded_whole(report: dict[str, Any], folder: Path) -> None:
    utterance = report["bundles"][1]["utterances"][0]
    sound = load_sound(folder, utterance["audio"])
    assert sound is not None
    head, _, data = sound.audio.partition(",")
    assert head == "data:audio/flac;base64"
    assert base64.b64decode(data) == (folder / utterance["audio"]).read_bytes()
    assert sound.seconds == pytest.approx(utterance["seconds"])
    picture = base64.b64decode(sound.spectrogram.removeprefix("data:image/webp;base64,"))
    assert picture[8:12] == b"WEBP"


@pytest.mark.parametrize("name", [None, "missing.flac", "../secret.flac", "/etc/hostname", "."])
def test_only_recordings_of_the_folder_are_read(
    tmp_path: Path, folder: Path, name: str | None
) -> None:
    recording = next(folder.rglob("*.flac"))
    (tmp_path / "secret.flac").write_bytes(recording.read_bytes())
    (tmp_path / "report").mkdir()
    assert load_sound(tmp_path / "report", name) is None


def test_a_broken_recording_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(b"fLaC and then nothing")
    assert load_sound(tmp_path, "a.flac") is None


def test_words_heard_wrong_are_marked() -> None:
    assert heard_words("Put the key, please!", "put a key please now") == [
        ("put", False), ("a", True), ("key", False), ("please", False), ("now", True),
    ]  # fmt: skip
    assert heard_words("Hello.", "") == []
