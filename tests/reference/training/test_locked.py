"""The phase-locked corpus: a waveform of a frame and its neighbour; a model moves to its codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.training.made_up import make_work
from torch.nn import functional as F

from flowvox.config import SPECIAL_CODES, ModelConfig
from flowvox.reference.training import semantics
from flowvox.reference.training.codec import new_codec
from flowvox.reference.training.language_model import LanguageModel
from flowvox.reference.training.lm import ADAPTING
from flowvox.reference.training.locked import carry
from flowvox.reference.training.locked.carry import carried, old_codes, values
from flowvox.reference.training.locked.codes import CodeSpace
from flowvox.reference.training.locked.corpus import VOICES, spoken, utterance, voice_of
from flowvox.reference.training.locked.glides import MAX_CYCLES, MIN_CYCLES
from flowvox.reference.training.locked.synth import (
    FRAME,
    filled_f0,
    frozen_noise,
    locked_phase,
)
from flowvox.tensors import CODE_EMBEDDINGS

PARAMS = Path(__file__).parents[3] / "reference" / "training" / "locked" / "params.json"


@given(st.lists(st.floats(80, 280), min_size=13, max_size=80), st.integers(0, 12))
def test_the_phase_in_a_frames_middle_follows_from_its_pitch(
    hertz: list[float], unvoiced: int
) -> None:
    f0 = np.array(hertz, dtype=np.float32)
    f0[:unvoiced] = 0
    frames = -(-len(f0) * 300 // FRAME)
    phase, cycles, _ = locked_phase(f0, frames * FRAME)
    middle = phase.reshape(frames, FRAME)[:, FRAME // 2 - 1 : FRAME // 2 + 1]
    turns = np.exp(2j * np.pi * middle).mean(axis=1)  # around the middle, whatever was before
    np.testing.assert_allclose(turns, np.exp(1j * np.pi * cycles), atol=1e-2)
    assert cycles.min() >= MIN_CYCLES
    assert cycles.max() <= MAX_CYCLES


def test_unvoiced_stretches_are_bridged() -> None:
    f0 = np.array([100, 0, 0, 0, 200], dtype=np.float32)
    filled = filled_f0(f0)
    assert np.all(np.diff(filled) > 0)
    assert 130 < filled[2] < 150  # the geometric mean of both ends


def test_noise_repeats_every_frame() -> None:
    noise = frozen_noise(3 * FRAME).reshape(3, FRAME)
    np.testing.assert_array_equal(noise[0], noise[2])


def test_voices_get_their_shares() -> None:
    chosen = [voice_of(f"Sentence {i}.") for i in range(4000)]
    shares = np.bincount(chosen) / len(chosen)
    np.testing.assert_allclose(shares, [v.share for v in VOICES.values()], atol=0.03)


def test_a_carried_model_means_the_same_by_new_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New codes that are the old ones in reverse order: embeddings and maps are found exactly."""
    work = tmp_path / "work"
    monkeypatch.setattr(carry, "PENALTY", 1e-2)  # a few frames have to do
    (work / "locked").mkdir(parents=True)
    (work / "export").mkdir()
    speech = make_work(work)
    made = semantics.fit(speech, 512, 32, "cpu")
    config = ModelConfig.load(work / "params.json")
    codec = new_codec(config, made.vectors)
    model = LanguageModel(config, ADAPTING).state_dict()
    backbone = {k: v for k, v in model.items() if k.startswith("backbone.")}
    parts = {"backbone": backbone, "flow": {k: v for k, v in model.items() if k not in backbone}}
    for name, part in {**parts, "codec": codec.state_dict()}.items():
        torch.save(part, work / "export" / f"{name}.pt")
    old = old_codes(codec, speech, np.arange(len(speech.sentence)))
    speech.save(work / "locked" / "speech")
    np.save(work / "locked" / "codes.npy", old.flip(1).numpy().astype(np.uint8))

    state = carried(work)
    table, offsets = f"backbone.{CODE_EMBEDDINGS}", torch.tensor(config.code_offsets[1:])

    def embedded(weights: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        return F.embedding_bag(codes + offsets + SPECIAL_CODES, weights, mode="sum")

    before, after = embedded(model[table], old), embedded(state[table], old.flip(1))
    spread = (before - before.mean(0)).square().mean()
    assert (after - before).square().mean() < 0.05 * spread
    semantic = slice(0, config.semantic_rows)
    torch.testing.assert_close(state[table][semantic], model[table][semantic])
    name = "flow.input_projection.weight"
    reads = values(old)
    difference = reads.flip(1) @ state[name].T - reads @ model[name].T
    assert difference.square().mean() < 0.05 * (reads @ model[name].T).square().mean()


def test_codes_do_not_want_the_audio() -> None:
    pytest.importorskip("hibari", reason="needs the train extra")
    from flowvox.reference.training.locked.teacher import Teacher

    teacher, space, phase = Teacher(), CodeSpace.load(), np.zeros(601, np.float32)
    heard, unheard = (
        utterance(teacher, space, phase, "The tea is hot.", 1, audible=audible)
        for audible in (True, False)
    )
    assert heard is not None
    assert unheard is not None
    assert len(heard["audio"]) == len(heard["codes"]) * FRAME
    assert len(unheard["audio"]) == 0
    np.testing.assert_array_equal(unheard["codes"], heard["codes"])


def test_all_voices_have_one_phase() -> None:
    pytest.importorskip("hibari", reason="needs the train extra")
    from flowvox.reference.training.locked.teacher import Teacher

    teacher, phase = Teacher(), np.sin(np.arange(601) / 40).astype(np.float32)
    said = spoken(teacher, teacher.phonemes("The tea is hot."), phase, list(VOICES).index("hugo"))
    assert said is not None
    np.testing.assert_array_equal(said.phase, np.broadcast_to(phase, said.harmonic.shape))


def test_labels_follow_the_sound() -> None:
    pytest.importorskip("hibari", reason="needs the train extra")
    from flowvox.reference.training.locked.teacher import Teacher

    teacher = Teacher()
    phonemes = teacher.phonemes("She sees the sea shore, Sasha says.")
    parameters = teacher.speak(phonemes)
    vocabulary = teacher.hibari.vocab
    hissing = np.isin(parameters.phonemes, [vocabulary["s"], vocabulary["ʃ"]])
    vowels = np.isin(parameters.phonemes, [vocabulary["i"], vocabulary["ɛ"], vocabulary["æ"]])
    hiss = parameters.noise[:, 250:450].mean(axis=1)  # 5 to 9 kHz
    assert hiss[hissing].mean() > hiss[vowels].mean() + 1
    assert parameters.word_index[-1] == phonemes.count(" ")
