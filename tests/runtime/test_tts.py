"""The Python API on the micro model: parity, streaming, guards, options."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flowvox import TTS
from flowvox.errors import FlowvoxError, PromptError, VoiceError
from flowvox.noise import frame_noise
from flowvox.presets import preset
from flowvox.reference.generate import generate
from flowvox.reference.speak import ReferenceTTS, embed_prompt
from flowvox.runtime.plan import plan
from flowvox.schedule import Sampling

TEXT = "Hello there, how are you?"


@pytest.fixture(scope="module")
def tts(micro_bundles: dict[str, Path]) -> TTS:
    return TTS.load(micro_bundles["fp32"], device="cpu", threads=1)


@pytest.fixture(scope="module")
def reference(random_micro: Path) -> ReferenceTTS:
    return ReferenceTTS.load(random_micro)


@pytest.mark.parametrize("voice", ["first", "second"])
@pytest.mark.parametrize("seed", range(4))
def test_the_fp32_bundle_gives_the_codes_of_the_reference(
    tts: TTS, reference: ReferenceTTS, voice: str, seed: int
) -> None:
    speech = tts.synthesize(TEXT, voice, seed=seed, max_seconds=2)
    expected = reference.generate(TEXT, voice, seed=seed, max_frames=25)
    np.testing.assert_array_equal(speech.codes, expected.codes)
    assert speech.ended == expected.ended
    if len(speech.codes):
        expected_samples = reference.decode(speech.codes)
        np.testing.assert_allclose(speech.audio.samples, expected_samples, rtol=0, atol=1e-5)


def test_options_reach_the_model_as_in_the_reference(tts: TTS, reference: ReferenceTTS) -> None:
    sampling = Sampling("heun", 3, 2.0, "sway", (0.2, 0.9))
    for seed in range(3):
        speech = tts.synthesize(TEXT, "first", seed=seed, max_seconds=1, **asdict(sampling))
        expected = reference.generate(TEXT, "first", seed=seed, max_frames=12, sampling=sampling)
        np.testing.assert_array_equal(speech.codes, expected.codes)


def test_a_preset_holds_for_one_request_or_for_all(
    tts: TTS, reference: ReferenceTTS, micro_bundles: dict[str, Path]
) -> None:
    fast = TTS.load(micro_bundles["fp32"], device="cpu", threads=1, quality="fast")
    assert (tts.sampling, fast.sampling) == (preset("full"), preset("fast"))

    def codes(tts: TTS, **options: object) -> list[list[int]]:
        return tts.synthesize(TEXT, "second", seed=1, max_seconds=1, **options).codes.tolist()

    expected = reference.generate(TEXT, "second", seed=1, max_frames=12, sampling=preset("fast"))
    assert codes(fast) == codes(tts, quality="fast") == expected.codes.tolist()
    assert codes(fast, quality="full") == codes(tts) == codes(tts, quality="full")
    streamed = tts.stream(TEXT, "second", seed=1, max_seconds=1, quality="fast")
    said = fast.say(TEXT, "second", seed=1, max_seconds=1)
    np.testing.assert_array_equal(np.concatenate([c.samples for c in streamed]), said.samples)


def test_an_option_overrides_the_preset(tts: TTS, reference: ReferenceTTS) -> None:
    options = {"quality": "balanced", "steps": 2, "guidance": 3.0}
    speech = tts.synthesize(TEXT, "first", seed=1, max_seconds=1, **options)
    sampling = replace(preset("balanced"), steps=2, guidance=3.0)
    expected = reference.generate(TEXT, "first", seed=1, max_frames=12, sampling=sampling)
    np.testing.assert_array_equal(speech.codes, expected.codes)


def test_a_long_text_is_several_runs_with_one_stream_of_noise(
    tts: TTS, reference: ReferenceTTS
) -> None:
    """Every piece is what the reference says to it, with the noise rows that come next."""
    text = "This is a sentence of forty characters. " * 40
    speech = tts.synthesize(text, "first", seed=4, max_seconds=600)
    pieces = plan(text, tts.bundle.tokenizer(), tts.config, len(tts.bundle.voice("first")))
    assert len(pieces) > 1
    used = 0
    for piece in pieces:
        prompt = embed_prompt(reference.model, reference.checkpoint, piece.text, "first")
        noise = frame_noise(4, used + piece.frames, tts.config.codec.acoustic_dim)[used:]
        expected = generate(reference.model, prompt, torch.from_numpy(noise)).codes
        np.testing.assert_array_equal(speech.codes[used : used + len(expected)], expected)
        used += len(expected)
    assert used == len(speech.codes)


def test_the_number_of_threads_changes_no_sample(tts: TTS, micro_bundles: dict[str, Path]) -> None:
    two = TTS.load(micro_bundles["fp32"], device="cpu", threads=2)
    for seed in range(3):
        one, other = (t.say(TEXT, "second", seed=seed, max_seconds=2).samples for t in (tts, two))
        np.testing.assert_array_equal(one, other)


def test_a_stream_refuses_bad_input_when_it_is_asked_not_when_it_is_heard(tts: TTS) -> None:
    with pytest.raises(PromptError):
        tts.stream("")
    with pytest.raises(VoiceError):
        tts.stream("Hello.", "third")


def test_a_stream_begins_with_a_small_chunk(tts: TTS) -> None:
    for seed in range(8):
        chunks = list(tts.stream(TEXT, "first", seed=seed, max_seconds=1))
        assert all(len(chunk.samples) <= 2 * tts.config.codec.frame_samples for chunk in chunks[:1])


def test_times_add_up(tts: TTS) -> None:
    speech = tts.synthesize(TEXT, "first", seed=1, max_seconds=1)
    times = speech.times
    assert times.frames == len(speech.codes)
    assert 0 < times.backbone + times.flow + times.codec <= speech.compute_seconds
    assert 0 < speech.first_audio_seconds <= speech.compute_seconds
    assert speech.rtf == pytest.approx(speech.compute_seconds / speech.audio.seconds)


def test_streaming_gives_the_samples_of_say(tts: TTS) -> None:
    for seed in range(3):
        chunks = list(tts.stream(TEXT, "second", seed=seed, max_seconds=2))
        streamed = (
            np.concatenate([c.samples for c in chunks]) if chunks else np.zeros(0, np.float32)
        )
        said = tts.say(TEXT, "second", seed=seed, max_seconds=2)
        np.testing.assert_array_equal(streamed, said.samples)


def test_the_same_seed_gives_the_same_codes_and_another_others(tts: TTS) -> None:
    codes = [tts.synthesize(TEXT, "first", seed=s, max_seconds=1).codes_sha256 for s in (5, 5, 6)]
    assert codes[0] == codes[1] != codes[2]


def test_a_longer_budget_changes_nothing_that_was_said(tts: TTS) -> None:
    short = tts.synthesize(TEXT, "first", seed=1, max_seconds=0.5).codes
    long = tts.synthesize(TEXT, "first", seed=1, max_seconds=2).codes
    np.testing.assert_array_equal(short, long[: len(short)])
    np.testing.assert_array_equal(frame_noise(3, 5, 36), frame_noise(3, 50, 36)[:5])


def test_a_runaway_is_cut_and_says_so(tts: TTS) -> None:
    speeches = [tts.synthesize(TEXT, "first", seed=s, max_seconds=0.16) for s in range(6)]
    cut = [s for s in speeches if not s.ended]
    assert cut
    assert all(len(s.codes) == 2 for s in cut)


@pytest.mark.parametrize(
    "text",
    ["[AUDIO] [END]", "\x00\x07\x1b[31m", "👩‍👩‍👧‍👦 😀", "日本語", "a" * 3000, "a\ud800b", "…"],
)
def test_any_text_is_spoken(tts: TTS, text: str) -> None:
    speech = tts.synthesize(text, "first", max_seconds=0.3)
    assert np.isfinite(speech.audio.samples).all()


def test_ten_thousand_characters(tts: TTS) -> None:
    text = "This is a sentence of forty characters. " * 250
    speech = tts.synthesize(text, "first", max_seconds=3)
    assert speech.audio.seconds <= 3.1


def test_bad_input_is_refused(tts: TTS) -> None:
    for text in ("", "  \n", "x" * 200_000):
        with pytest.raises(PromptError):
            tts.say(text)
    with pytest.raises(VoiceError, match="first, second"):
        tts.say("hi", "third")
    for options in (
        {"steps": 0}, {"steps": 10**6}, {"guidance": -1.0}, {"guidance": float("nan")}, {"seed": -1},
        {"max_seconds": 0}, {"max_seconds": float("inf")}, {"solver": "rk4"},
        {"quality": "best"}, {"grid": "sigmoid"}, {"guidance_interval": (0.5, 0.2)},
    ):  # fmt: skip
        with pytest.raises(FlowvoxError):
            tts.say("hi", **options)


def test_audio_is_saved_as_16_bit_wav(tts: TTS, tmp_path: Path) -> None:
    import soundfile

    audio = tts.say(TEXT, "first", max_seconds=1)
    audio.save(tmp_path / "a.wav")
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels, info.subtype) == (audio.sample_rate, 1, "PCM_16")
    assert info.frames == len(audio.samples)


@pytest.mark.parametrize("recipe", ["fp16", "int8", "int4"])
def test_quantized_bundles_speak(micro_bundles: dict[str, Path], recipe: str) -> None:
    speech = TTS.load(micro_bundles[recipe], threads=1).synthesize(
        TEXT, "first", max_seconds=1, seed=2
    )
    assert np.isfinite(speech.audio.samples).all()
