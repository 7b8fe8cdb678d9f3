"""How a text becomes runs of the model."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import published_params

from flowvox.bundle import Bundle
from flowvox.config import ModelConfig
from flowvox.errors import FlowvoxError, PromptError
from flowvox.noise import frame_noise
from flowvox.prompt import FIXED_TOKENS
from flowvox.runtime.limits import check_options, check_threads, choose_sampling
from flowvox.runtime.plan import PIECE_CHARACTERS, Budget, chunk_sizes, plan
from flowvox.schedule import Sampling
from flowvox.tokenizer import Tokenizer

SENTENCE = "This is a sentence of forty characters. "


@pytest.fixture(scope="module")
def tokenizer(micro_bundles: dict[str, Path]) -> Tokenizer:
    return Bundle.open(micro_bundles["fp32"], verify=False).tokenizer()


@pytest.fixture(scope="module")
def published() -> ModelConfig:
    return ModelConfig.from_dict(published_params())


def with_positions(config: ModelConfig, positions: int) -> ModelConfig:
    backbone = dataclasses.replace(config.backbone, max_positions=positions)
    return dataclasses.replace(config, backbone=backbone)


def test_a_text_that_fits_is_one_run_word_for_word(
    tokenizer: Tokenizer, published: ModelConfig
) -> None:
    text = f" {SENTENCE * 14}\n"
    (piece,) = plan(text, tokenizer, published, voice_frames=218)
    assert piece.text == text
    assert piece.ids == tokenizer.encode(text)


def test_a_longer_text_is_several_runs(tokenizer: Tokenizer, published: ModelConfig) -> None:
    pieces = plan(SENTENCE * 250, tokenizer, published, voice_frames=218)
    assert len(pieces) == pytest.approx(250 * len(SENTENCE) / PIECE_CHARACTERS, abs=3)
    assert all(piece.text.endswith("characters.") for piece in pieces)


@pytest.mark.parametrize("positions", [400, 1000, 65536])
@pytest.mark.parametrize("text", ["Hi.", SENTENCE * 60, "\U0001f600" * 3000, "a" * 5000])
def test_every_run_fits_the_context(
    tokenizer: Tokenizer, published: ModelConfig, positions: int, text: str
) -> None:
    config = with_positions(published, positions)
    try:
        pieces = plan(text, tokenizer, config, voice_frames=100)
    except PromptError as error:
        assert "shorter sentences" in str(error)
        return
    for piece in pieces:
        assert piece.frames >= 1
        assert 100 + FIXED_TOKENS + len(piece.ids) + piece.frames <= min(positions, 4096)


def test_what_cannot_be_said_is_refused(tokenizer: Tokenizer, published: ModelConfig) -> None:
    for text in ("", " \n\t", "x" * 100_001):
        with pytest.raises(PromptError):
            plan(text, tokenizer, published, voice_frames=10)
    with pytest.raises(PromptError, match="another voice"):
        plan("Hi.", tokenizer, with_positions(published, 100), voice_frames=95)


def test_frame_t_of_the_utterance_uses_noise_row_t(
    tokenizer: Tokenizer, published: ModelConfig
) -> None:
    pieces = plan(SENTENCE * 40, tokenizer, published, voice_frames=10)
    budget = Budget(pieces, 7, None, published)
    noise = frame_noise(7, 3000, 36)
    np.testing.assert_array_equal(budget.rows(pieces[0]), noise[: pieces[0].frames])
    budget.spend(11)
    np.testing.assert_array_equal(budget.rows(pieces[1]), noise[11 : 11 + pieces[1].frames])


@pytest.mark.parametrize(("seconds", "frames"), [(0.001, 1), (0.08, 1), (1.0, 12), (8.0, 100)])
def test_max_seconds_bounds_all_runs_together(
    tokenizer: Tokenizer, published: ModelConfig, seconds: float, frames: int
) -> None:
    pieces = plan(SENTENCE * 40, tokenizer, published, voice_frames=10)
    budget = Budget(pieces, 0, seconds, published)
    assert len(budget.rows(pieces[0])) == frames
    budget.spend(frames)
    assert len(budget.rows(pieces[1])) == 0


def test_chunks_begin_small_and_never_outgrow_what_was_heard_by_more_than_half() -> None:
    sizes = list(itertools.islice(chunk_sizes(), 20))
    assert sizes[0] <= 2
    assert sizes[-1] == 12
    for i in range(1, len(sizes)):
        assert sizes[i] <= 1.5 * sizes[i - 1]


def test_what_is_not_given_is_left_as_it_is() -> None:
    default = Sampling("heun", 3, 2.0, "sway", (0.1, 0.9))
    assert choose_sampling(default, quality=None, steps=None) == default
    assert choose_sampling(default, steps=1000, guidance=0) == replace(
        default, steps=1000, guidance=0
    )
    assert choose_sampling(default, quality="full") == Sampling()


def test_options_out_of_range_are_named() -> None:
    check_options(seed=2**64 - 1, max_seconds=0.01)
    for name, bad in {
        "seed": (-1, 2**64), "max_seconds": (0, -1, float("nan"), float("inf")),
    }.items():  # fmt: skip
        for value in bad:
            with pytest.raises(FlowvoxError, match=name.replace("_", "-")):
                check_options(**{name: value})
    nan = float("nan")
    for name, bad in {
        "steps": (0, -3, 1001), "guidance": (-0.1, nan, float("inf")), "solver": ("rk4",),
        "grid": ("linear",), "guidance_interval": ((0.6, 0.5), (-0.1, 1), (0, 1.1), (nan, 1), (0,)),
        "quality": ("best",),
    }.items():  # fmt: skip
        for value in bad:
            with pytest.raises(FlowvoxError, match=name):
                choose_sampling(Sampling(), **{name: value})
    for threads in (0, -1, 10**6):
        with pytest.raises(FlowvoxError, match="threads"):
            check_threads(threads)
