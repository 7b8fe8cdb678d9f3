"""The engine's seams: teacher forcing, and a model whose numbers overflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from flowvox.bundle import Bundle
from flowvox.errors import BundleError
from flowvox.noise import frame_noise
from flowvox.reference.generate import teacher_forced
from flowvox.reference.speak import ReferenceTTS, embed_prompt
from flowvox.runtime.engine import Engine, Run
from flowvox.runtime.sampling import acoustic_values, semantic_value
from flowvox.schedule import flow_schedule

TEXT = "Hello there."


@pytest.fixture(scope="module")
def bundle(micro_bundles: dict[str, Path]) -> Bundle:
    return Bundle.open(micro_bundles["fp32"])


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle, "cpu", threads=1)


@pytest.fixture(scope="module")
def prompt(bundle: Bundle, engine: Engine) -> np.ndarray:
    return engine.embed_prompt(bundle.tokenizer().encode(TEXT), bundle.voice("first"))


@pytest.fixture(scope="module")
def reference(random_micro: Path) -> ReferenceTTS:
    return ReferenceTTS.load(random_micro)


def test_the_prompt_is_that_of_the_reference(prompt: np.ndarray, reference: ReferenceTTS) -> None:
    expected = embed_prompt(reference.model, reference.checkpoint, TEXT, "first")
    np.testing.assert_array_equal(prompt, expected.numpy())


def test_teacher_forcing_is_that_of_the_reference(
    engine: Engine, prompt: np.ndarray, reference: ReferenceTTS
) -> None:
    rng, codec = np.random.default_rng(0), engine.config.codec
    acoustic = rng.integers(codec.acoustic_codebook_size, size=(9, codec.acoustic_dim))
    semantic = rng.integers(codec.semantic_codebook_size, size=(9, 1))
    codes = np.concatenate([semantic, acoustic], axis=1).astype(np.int32)
    noise = frame_noise(1, 10, codec.acoustic_dim)
    logits, latents = engine.teacher_forced(prompt, codes, noise, flow_schedule("euler", 7, 1.2))
    expected = teacher_forced(
        reference.model, torch.from_numpy(prompt), torch.from_numpy(codes), torch.from_numpy(noise)
    )
    valid = slice(1, engine.config.semantic_rows)  # EMPTY and padding are masked there, raw here
    expected_logits = expected.semantic_logits.numpy()[:, valid]
    np.testing.assert_allclose(logits[:, valid], expected_logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(latents, expected.latents.numpy(), rtol=0, atol=1e-5)


def test_teacher_forcing_with_its_own_codes_says_them_again(
    engine: Engine, prompt: np.ndarray
) -> None:
    config, schedule = engine.config, flow_schedule("euler", 7, 1.2)
    noise = frame_noise(2, 9, config.codec.acoustic_dim)
    codes = np.array(list(engine.frames(prompt, noise[:8], schedule, Run())))
    logits, latents = engine.teacher_forced(prompt, codes, noise[: len(codes) + 1], schedule)
    for t, frame in enumerate(codes):
        assert semantic_value(logits[t], config.semantic_rows) - 2 == frame[0]
        values = acoustic_values(latents[t], config.codec.acoustic_codebook_size)
        np.testing.assert_array_equal(values - 2, frame[1:])


@pytest.mark.parametrize(
    ("graph", "says"), [("backbone", "model"), ("flow", "model"), ("codec_decoder", "codec")]
)
def test_values_that_overflow_are_an_error_not_noise(
    bundle: Bundle, prompt: np.ndarray, tmp_path: Path, graph: str, says: str
) -> None:
    """Every weight of one graph is NaN."""
    from flowvox.runtime.codec import CodecStream

    copy = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    size = (copy / f"{graph}.onnx.data").stat().st_size
    np.full(size // 4, np.nan, dtype=np.float32).tofile(copy / f"{graph}.onnx.data")
    engine = Engine(Bundle.open(copy, verify=False), "cpu", threads=1)
    noise = frame_noise(0, 3, engine.config.codec.acoustic_dim)
    codes = np.zeros((2, engine.config.n_codebooks), dtype=np.int32)

    def speak() -> None:
        list(engine.frames(prompt, noise, flow_schedule("euler", 2, 1.2), Run()))
        CodecStream(engine.codec_session).decode(codes)

    with pytest.raises(BundleError, match=f"{says}.*not finite"):
        speak()
