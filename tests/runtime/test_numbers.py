"""A model of words gets words, whoever runs it: the bundle, the reference, a GGUF file of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import export, published_params

from flowvox import TTS
from flowvox.config import ModelConfig
from flowvox.errors import PromptError
from flowvox.eval.artifact import BundleArtifact
from flowvox.exporters.gguf.reader import GgufCheckpoint
from flowvox.exporters.gguf.writer import export_gguf
from flowvox.recipe import load_recipe
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.speak import ReferenceTTS, embed_prompt
from flowvox.runtime.plan import LONGEST_TEXT, PIECE_CHARACTERS, plan

DIGITS = "Bus 14 leaves at 7:20."
WORDS = "Bus fourteen leaves at seven twenty."


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, random_micro: Path) -> Path:
    """`random_micro`, as if it had been trained on words only."""
    path = tmp_path_factory.mktemp("words") / "micro"
    shutil.copytree(random_micro, path)
    params = json.loads((path / "params.json").read_text("utf-8"))
    (path / "params.json").write_text(json.dumps(params | {"numbers": "words"}), "utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    return export(checkpoint, "fp32", checkpoint.parent / "fp32")


def ids(text: str, source: ReferenceTTS | TTS) -> list[list[int]]:
    """Tokens of each run."""
    model = source.bundle if isinstance(source, TTS) else source.checkpoint
    return [piece.ids for piece in plan(text, model.tokenizer(), model.config, voice_frames=9)]


def test_bundle_and_reference_read_digits_as_words(checkpoint: Path, bundle: Path) -> None:
    tts, reference = TTS.load(bundle, device="cpu"), ReferenceTTS.load(checkpoint)
    assert ids(DIGITS, tts) == ids(DIGITS, reference) == [tts.bundle.tokenizer().encode(WORDS)]
    expected = reference.generate(WORDS, "first", seed=1, max_frames=6).codes
    heard = reference.generate(DIGITS, "first", seed=1, max_frames=6).codes
    spoken = tts.synthesize(DIGITS, "first", seed=1, max_seconds=0.48).codes
    np.testing.assert_array_equal(heard, expected)
    np.testing.assert_array_equal(spoken, expected)
    ours = BundleArtifact(bundle).hidden_states(DIGITS, "first", expected)
    np.testing.assert_allclose(
        ours, reference.hidden_states(WORDS, "first", expected), rtol=0, atol=1e-5
    )


def test_without_the_key_digits_stay_digits(
    random_micro: Path, micro_bundles: dict[str, Path]
) -> None:
    tts = TTS.load(micro_bundles["fp32"], device="cpu")
    reference = ReferenceTTS.load(random_micro)
    assert ids(DIGITS, tts) == ids(DIGITS, reference) == [tts.bundle.tokenizer().encode(DIGITS)]
    digits, words = (
        embed_prompt(reference.model, reference.checkpoint, text, "first")
        for text in (DIGITS, WORDS)
    )
    assert digits.shape != words.shape or not torch.equal(digits, words)


def test_the_published_model_reads_digits_itself() -> None:
    assert ModelConfig.from_dict(published_params()).numbers is None


def test_a_text_is_measured_in_words(checkpoint: Path) -> None:
    """Fits in digits, is several runs in words; or is refused before any work."""
    source = Checkpoint.open(checkpoint)

    def runs(text: str) -> list[str]:
        pieces = plan(text, source.tokenizer(), source.config, voice_frames=9)
        return [piece.text for piece in pieces]

    text = "It is 7:27, not 7:37. " * 20
    assert len(text) < PIECE_CHARACTERS
    assert len(runs(text)) > 1
    assert all(len(run) <= PIECE_CHARACTERS for run in runs(text))
    assert " ".join(runs(text)) == "It is seven twenty-seven, not seven thirty-seven. " * 19 + (
        "It is seven twenty-seven, not seven thirty-seven."
    )
    for text in ("7 " * (LONGEST_TEXT // 2), "x" * (LONGEST_TEXT + 1)):
        with pytest.raises(PromptError, match="at most 100000"):
            runs(text)


def test_a_gguf_file_says_it_too(checkpoint: Path, random_micro: Path, tmp_path: Path) -> None:
    for path, expected in ((checkpoint, "words"), (random_micro, None)):
        out = tmp_path / f"{expected}.gguf"
        export_gguf(Checkpoint.open(path), load_recipe("fp16"), out)
        read = GgufCheckpoint(out)
        assert read.config.numbers == expected
        assert (b"voxtral_tts.numbers" in out.read_bytes()) == (expected is not None)
