"""Generation, code by code: torch against the oracle, and torch against itself (format B.4 - B.7)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracle import backbone, codec, encoder, flow, layers
from tests.oracle import generate as oracle
from tests.oracle.compare import EXACT, Pair, difference, load_pair, normal, random_codes
from tests.oracle.layers import Array

from flowvox.noise import frame_noise
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.flow import quantize_latents
from flowvox.reference.generate import Generation, decode_audio, generate, teacher_forced
from flowvox.reference.speak import ReferenceTTS
from flowvox.tensors import checkpoint_tensors
from flowvox.tokenizer import Tokenizer

FRAMES = 12
ENDS_EARLY = 0  # the seed whose utterance ends by itself, after 8 frames


def prompt_and_noise(pair: Pair, seed: int) -> tuple[Array, Array]:
    prompt = 0.5 * normal((9, pair.config.backbone.dim), seed)
    return prompt, normal((FRAMES, pair.config.codec.acoustic_dim), 100 + seed)


def torch_generation(pair: Pair, prompt: Array, noise: Array) -> Generation:
    return generate(pair.model, torch.from_numpy(prompt), torch.from_numpy(noise))


@pytest.mark.parametrize("seed", [ENDS_EARLY, 1, 2])
def test_codes_and_end(pair: Pair, seed: int) -> None:
    prompt, noise = prompt_and_noise(pair, seed)
    generation = torch_generation(pair, prompt, noise)
    codes, ended = oracle.generate(prompt, noise, pair.tensors, pair.config)
    assert generation.codes.tolist() == codes.tolist()
    assert generation.ended == ended


def test_end_stops_and_is_no_frame(micro: Pair) -> None:
    prompt, noise = prompt_and_noise(micro, ENDS_EARLY)
    generation = torch_generation(micro, prompt, noise)
    assert generation.ended
    assert 0 < len(generation.codes) < FRAMES
    assert generation.codes.min() >= 0
    assert generation.codes[:, 0].max() < micro.config.codec.semantic_codebook_size


def test_noise_is_the_budget(micro: Pair) -> None:
    prompt, noise = prompt_and_noise(micro, 1)
    longer = torch_generation(micro, prompt, noise)
    for frames in (0, 1, 5):
        generation = torch_generation(micro, prompt, noise[:frames])
        assert generation.codes.tolist() == longer.codes[:frames].tolist()
        assert not generation.ended


# ---- errors --------------------------------------------------------------------------------------

right_embed = backbone.embed_values


def step_of_token_24(prompt: Array, tensors: dict[str, Array]) -> list[Array]:
    """One more backbone step, fed with the row of [AUDIO], before frame 0."""
    return [*prompt, tensors[backbone.TOKENS][backbone.AUDIO]]


def without_last_token(prompt: Array, _tensors: dict[str, Array]) -> list[Array]:
    return list(prompt[:-1])


def plus_audio_token(values: Array, tensors: dict[str, Array], config: Any) -> Array:
    return right_embed(values, tensors, config) + tensors[backbone.TOKENS][backbone.AUDIO]


def mean_of_rows(values: Array, tensors: dict[str, Array], config: Any) -> Array:
    return right_embed(values, tensors, config) / len(values)


def semantic_row_alone(values: Array, tensors: dict[str, Array], config: Any) -> Array:
    return right_embed(values[:1], tensors, config)


def fed_back_without_the_2(values: Array, tensors: dict[str, Array], config: Any) -> Array:
    return right_embed(values - 2, tensors, config)


FIRST_FRAME_ERRORS: dict[str, tuple[ModuleType, str, Any]] = {
    "a step of token 24 before frame 0": (oracle, "first_sequence", step_of_token_24),
    "frame 0 from the last token but one": (oracle, "first_sequence", without_last_token),
    "no RoPE": (layers, "rotate", lambda head, _position, _theta: head),
}
FEEDBACK_ERRORS: dict[str, tuple[ModuleType, str, Any]] = {
    "[AUDIO] added to the feedback": (backbone, "embed_values", plus_audio_token),
    "feedback averaged": (backbone, "embed_values", mean_of_rows),
    "acoustic codes not fed back": (backbone, "embed_values", semantic_row_alone),
    "feedback without the +2": (backbone, "embed_values", fed_back_without_the_2),
}


@pytest.mark.parametrize("error", FIRST_FRAME_ERRORS | FEEDBACK_ERRORS)
def test_port_error_changes_codes(micro: Pair, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong feedback first shows in frame 1; the others in frame 0."""
    prompt, noise = prompt_and_noise(micro, 1)
    codes = torch_generation(micro, prompt, noise[:4]).codes
    monkeypatch.setattr(*(FIRST_FRAME_ERRORS | FEEDBACK_ERRORS)[error])
    wrong, _ = oracle.generate(prompt, noise[:4], micro.tensors, micro.config)
    assert (wrong[0].tolist() == codes[0].tolist()) == (error in FEEDBACK_ERRORS)
    assert wrong.tolist() != codes.tolist()


def test_each_frame_has_its_own_draw(micro: Pair) -> None:
    prompt, noise = prompt_and_noise(micro, 1)
    codes = torch_generation(micro, prompt, noise).codes
    repeated = np.repeat(noise[:1], FRAMES, axis=0)
    wrong, _ = oracle.generate(prompt, repeated, micro.tensors, micro.config)
    assert wrong[0].tolist() == codes[0].tolist()
    assert wrong.tolist() != codes.tolist()


# ---- teacher forcing ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [ENDS_EARLY, 1])
def test_teacher_forcing_says_what_generation_did(micro: Pair, seed: int) -> None:
    """One causal pass over prompt and codes gives every code again, and END where it came."""
    prompt, noise = prompt_and_noise(micro, seed)
    generation = torch_generation(micro, prompt, noise)
    frames, levels = len(generation.codes), micro.config.codec.acoustic_codebook_size
    draws = torch.from_numpy(np.concatenate([noise, noise[:1]])[: frames + 1])
    forced = teacher_forced(
        micro.model, torch.from_numpy(prompt), torch.from_numpy(generation.codes), draws
    )
    values = forced.semantic_logits.argmax(dim=-1)
    assert (values[:-1] - 2).tolist() == generation.codes[:, 0].tolist()
    assert (values[-1] == oracle.END) == generation.ended
    acoustic = quantize_latents(forced.latents[:-1], levels)
    assert acoustic.tolist() == generation.codes[:, 1:].tolist()


def test_teacher_forcing_of_codes_that_the_model_would_not_say(pair: Pair) -> None:
    prompt, noise = prompt_and_noise(pair, 3)
    codes = random_codes(pair.config, FRAMES - 1, seed=3)
    forced = teacher_forced(pair.model, *map(torch.from_numpy, (prompt, codes, noise)))
    rows = [backbone.embed_values(v, pair.tensors, pair.config) for v in codes + 2]
    sequence = np.concatenate([prompt, rows])
    hidden = backbone.hidden_states(sequence, pair.tensors, pair.config)[len(prompt) - 1 :]
    assert difference(forced.hidden, hidden) < EXACT
    draws = zip(noise, hidden, strict=True)
    latents = [flow.sample(n, h, pair.tensors, pair.config) for n, h in draws]
    assert difference(forced.latents, latents) < EXACT


# ---- the whole model ----------------------------------------------------------------------------


def test_text_to_samples_in_float32(micro: Pair) -> None:
    """What `flowvox say -c` runs, against the oracle: equal codes, samples to float32."""
    tts, text, seed = ReferenceTTS.load(micro.path), "Two boats came home.", 7
    spoken = tts.generate(text, "first", seed=seed, max_frames=6)
    checkpoint = Checkpoint.open(micro.path)
    ids = Tokenizer.load(checkpoint.tokenizer_path).encode(text)
    prompt = backbone.prompt_embeddings(ids, checkpoint.voice("first"), micro.tensors)
    noise = frame_noise(seed, 6, micro.config.codec.acoustic_dim).astype(np.float64)
    codes, ended = oracle.generate(prompt, noise, micro.tensors, micro.config)
    assert spoken.codes.tolist() == codes.tolist()
    assert spoken.ended == ended
    samples = codec.decode(codes, micro.tensors, micro.config.codec)
    assert difference(tts.decode(spoken.codes), samples) < 1e-4


def test_no_frames_decode_to_no_samples(micro: Pair) -> None:
    codes = np.zeros((0, micro.config.n_codebooks), dtype=np.int32)
    assert decode_audio(micro.model, codes).shape == (0,)


def test_speech_in_a_voice_from_audio(micro: Pair) -> None:
    """Encoder, END frame, voice rows, prompt, generation: the same codes on both sides."""
    recording = normal((5 * micro.config.codec.frame_samples - 100,), 16)
    voice_codes = micro.model.codec.encode(torch.from_numpy(recording)[None])[0]
    expected_voice = encoder.encode(recording, micro.tensors, micro.config.codec)
    assert voice_codes.tolist() == expected_voice.tolist()
    end = torch.from_numpy(backbone.end_frame(micro.config.n_codebooks))
    rows = micro.model.backbone.embed_values(torch.cat([voice_codes + 2, end[None]]))
    text = [31, 32, 1033]
    ids = torch.tensor(backbone.prompt_ids(text, len(rows)))
    prompt = micro.model.backbone.embed_tokens(ids)
    prompt[ids == backbone.AUDIO] = rows
    noise = normal((4, micro.config.codec.acoustic_dim), 17)
    voice = backbone.voice_rows(expected_voice, micro.tensors, micro.config)
    expected_prompt = backbone.prompt_embeddings(text, voice, micro.tensors)
    codes, _ = oracle.generate(expected_prompt, noise, micro.tensors, micro.config)
    assert len(codes) == 4
    assert torch_generation(micro, prompt.numpy(), noise).codes.tolist() == codes.tolist()


class Recorded(dict[str, Array]):
    """Tensors that remember which of them were read."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        super().__init__(tensors)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        self.used.add(name)
        return super().__getitem__(name)


def test_every_tensor_of_a_checkpoint_is_used(pair: Pair) -> None:
    """Names and shapes come from the format; a tensor nobody reads would be a forgotten term."""
    tensors, config = Recorded(pair.tensors), pair.config
    codes = encoder.encode(normal((1000,), 18), tensors, config.codec)
    voice = backbone.voice_rows(codes, tensors, config)
    prompt = backbone.prompt_embeddings([30, 31], voice, tensors)
    oracle.generate(prompt, normal((2, config.codec.acoustic_dim), 19), tensors, config)
    codec.decode(codes, tensors, config.codec)
    assert tensors.used == set(pair.model.checkpoint_parameters())
    assert tensors.used == set(checkpoint_tensors(config, encoder=True))


def test_trained_checkpoint(tiny: Path) -> None:
    """Trained weights bring the magnitudes that random ones lack."""
    pair = load_pair(tiny)
    checkpoint = Checkpoint.open(tiny)
    voice = checkpoint.voice(pair.config.voices[0])
    ids = Tokenizer.load(checkpoint.tokenizer_path).encode("one two")
    prompt = backbone.prompt_embeddings(ids, voice, pair.tensors)
    noise = normal((3, pair.config.codec.acoustic_dim), 20)
    codes, _ = oracle.generate(prompt, noise, pair.tensors, pair.config)
    assert torch_generation(pair, prompt, noise).codes.tolist() == codes.tolist()
    samples = codec.decode(codes, pair.tensors, pair.config.codec)
    ours = pair.model.codec.decode(torch.from_numpy(codes)[None])[0]
    assert difference(ours, samples) < EXACT
