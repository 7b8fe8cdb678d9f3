"""Providers, schedules, sampling, text splitting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.errors import BundleError, FlowvoxError
from flowvox.runtime.providers import CPU, CUDA, TENSORRT, choose_providers
from flowvox.runtime.sampling import acoustic_values, semantic_value
from flowvox.runtime.text import split_text
from flowvox.schedule import flow_schedule


def names(providers: list[object]) -> list[object]:
    return [p if isinstance(p, str) else p[0] for p in providers]


def test_auto_takes_cuda_where_it_is_there() -> None:
    assert names(choose_providers("auto", [CPU])) == [CPU]
    assert names(choose_providers("auto", [TENSORRT, CUDA, CPU])) == [CUDA, CPU]
    assert names(choose_providers("tensorrt", [TENSORRT, CUDA, CPU])) == [TENSORRT, CUDA, CPU]
    assert names(choose_providers("cpu", [CUDA, CPU])) == [CPU]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(FlowvoxError, match="onnxruntime-gpu"):
        choose_providers(device, [CPU])


def test_cuda_grows_its_arena_by_need_and_keeps_float32_exact() -> None:
    _, options = choose_providers("cuda", [CUDA, CPU])[0]
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert options["use_tf32"] == "0"


@given(st.integers(1, 40), st.floats(0, 5))
def test_schedules_cover_zero_to_one(steps: int, guidance: float) -> None:
    for solver, rows in (("euler", steps), ("midpoint", 2 * steps)):
        schedule = flow_schedule(solver, steps, guidance)
        assert schedule.shape == (rows, 5)
        assert schedule[:, 3].sum() == pytest.approx(1)
        assert (schedule[:, 0] < 1).all()


def test_empty_and_padding_never_win() -> None:
    logits = np.array([9, 1, 2, 3, 8], dtype=np.float32)
    assert semantic_value(logits, rows=4) == 3
    with pytest.raises(BundleError, match="not finite"):
        semantic_value(np.array([0, np.nan, 1], dtype=np.float32), rows=3)


def test_latents_are_clamped_and_rounded_half_to_even() -> None:
    latents = np.array([-0.75, -0.25, 0.25, 0.75, 3.0, -3.0], dtype=np.float32)
    assert (acoustic_values(latents, 5) - 2).tolist() == [0, 2, 2, 4, 4, 0]
    with pytest.raises(BundleError, match="not finite"):
        acoustic_values(np.array([np.inf], dtype=np.float32), 5)


def test_short_texts_stay_whole() -> None:
    assert split_text("One. Two. Three.", 300) == ["One. Two. Three."]


def test_long_texts_are_split_at_clauses_if_sentences_are_too_long() -> None:
    assert split_text("One two. Three four, five six. Seven.", 20) == [
        "One two. Three four,", "five six. Seven.",
    ]  # fmt: skip


@given(st.text(max_size=400), st.integers(5, 60))
def test_splitting_loses_nothing_but_space(text: str, longest: int) -> None:
    pieces = split_text(text, longest)
    assert all(0 < len(piece) <= longest for piece in pieces)

    def kept(s: str) -> str:
        return "".join(c for c in s if not c.isspace() and c not in "\"'”’)]")

    assert kept("".join(pieces)) == kept(text)
