"""The promises that make the corpus learnable, and the split that keeps it honest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flowvox.reference.training.synth import (
    FRAME,
    MAX_CYCLES,
    MIN_CYCLES,
    filled_f0,
    frozen_noise,
    locked_phase,
)
from flowvox.reference.training.text import (
    is_held_out,
    normalized,
    read_examples,
    text_hash,
)


@given(st.lists(st.floats(80, 280), min_size=13, max_size=80), st.integers(0, 12))
def test_every_frame_holds_whole_pitch_periods(hertz: list[float], unvoiced: int) -> None:
    f0 = np.array(hertz, dtype=np.float32)
    f0[:unvoiced] = 0
    frames = -(-len(f0) * 300 // FRAME)
    phase, cycles, _ = locked_phase(f0, frames * FRAME)
    at_boundaries = phase.reshape(frames, FRAME)[:, -1]
    np.testing.assert_allclose(at_boundaries, np.cumsum(cycles), atol=1e-3)
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


@given(st.text(alphabet="abc ABC.,!?'", min_size=1))
def test_the_split_ignores_case_and_punctuation(text: str) -> None:
    variant = text.upper() + "!"
    assert normalized(text) == normalized(variant)
    assert text_hash(text) == text_hash(variant)
    assert is_held_out(text) == is_held_out(variant)


def test_examples_of_wordnet_become_sentences(tmp_path: Path) -> None:
    for part in ("adj", "adv", "noun", "verb"):
        (tmp_path / f"data.{part}").write_text('  1 This software | "is no example at all"\n')
    glosses = (
        '00001 00 n 01 dog | a pet; "the dog barked all night"; "two words"\n'
        '00002 00 n 01 car | "THE CAR of 1984 was black"; "The dog barked all night!"\n'
    )
    with (tmp_path / "data.noun").open("a") as file:
        file.write(glosses)
    assert not is_held_out("The dog barked all night.")
    assert read_examples(tmp_path) == ["The dog barked all night."]
