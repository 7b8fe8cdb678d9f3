"""Samples: every voice says every text in every recipe, and the page links to all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.eval.faults import DEAF

from flowvox.errors import FlowvoxError
from flowvox.eval import samples
from flowvox.eval.artifact import open_artifact
from flowvox.eval.cache import Cache
from flowvox.eval.samples import TEXTS, Sample, page, record, write

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def recorded(
    micro_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> list[Sample]:
    """Of fp32 and int4, cut after a fraction of a second."""
    artifacts = [open_artifact(micro_bundles[name]) for name in ("fp32", "int4")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "SECONDS", 0.25)
        return record(artifacts, Cache(tmp_path_factory.mktemp("cache")), DEAF)


def test_every_voice_says_every_text_in_every_recipe(recorded: list[Sample]) -> None:
    said = {(s.recipe, s.utterance.voice, s.utterance.sentence.id) for s in recorded}
    wanted = {(r, v, t) for r in ("fp32", "int4") for v in ("first", "second") for t in TEXTS}
    assert said == wanted
    assert len(recorded) == len(said)


def test_files_are_what_the_page_links_to(recorded: list[Sample], tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    (folder / "of-a-voice-that-left.flac").touch()
    write(recorded, folder)
    links = set(re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text("utf-8")))
    assert links == {file.name for file in folder.glob("*.flac")} == {s.file for s in recorded}
    heard, rate = soundfile.read(folder / recorded[0].file, dtype="int16")
    assert (len(heard), rate) == (len(recorded[0].speech.samples), 24000)


def test_the_page_has_texts_and_a_line_of_scores_for_each(recorded: list[Sample]) -> None:
    text = page(recorded)
    for sample in recorded:
        assert sample.utterance.sentence.text in text
        assert f"| {sample.utterance.voice} | {sample.recipe} | - | - | - |" in text


def test_samples_are_of_one_model(micro_bundles: dict[str, Path], tmp_path: Path) -> None:
    from flowvox.embedded import embedded_bundle

    artifacts = [open_artifact(path) for path in (micro_bundles["fp32"], embedded_bundle())]
    with pytest.raises(FlowvoxError, match="another model"):
        record(artifacts, Cache(tmp_path), DEAF)
