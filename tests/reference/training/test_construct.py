"""A decoder of computed weights: what it says of envelopes and pitch that its first stage tells."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.training.codec import new_codec
from flowvox.reference.training.locked.codes import LEVELS
from flowvox.reference.training.locked.construct import (
    EXACT,
    LATE,
    PATCH,
    PITCHES,
    Units,
    construct,
    transform,
)
from flowvox.reference.training.locked.features import (
    ENVELOPE,
    HARMONIC_BANDS,
    SUBFRAMES,
    mel_hats,
)
from flowvox.reference.training.locked.front import Front
from flowvox.reference.training.locked.gains import (
    HARMONIC_RANGE,
    LIFT,
    GainCurves,
    amplitude,
)
from flowvox.reference.training.locked.sounds import SILENT, Sounds, excitations, steady
from flowvox.reference.training.locked.synth import FRAME

PARAMS = Path(__file__).parents[3] / "reference" / "training" / "locked" / "params.json"
PITCH, CONSTANT = slice(0, LEVELS), 21  # dimensions of the made-up stream


@cache
def sounds() -> Sounds:
    """Of pulses of zero phase: no teacher is asked."""
    phase = np.zeros(601, np.float32)
    return Sounds(excitations(phase, 1.0), steady(phase, 100.0, SILENT, 0.0, 1.0))


def stream(frames: int, dim: int) -> Tensor:
    """[frames, dim]: a pitch that stays for three frames, a constant, and slow waves."""
    level = torch.arange(frames) // 3 % PITCHES + 1
    waves = torch.sin(torch.arange(frames)[:, None] * torch.linspace(0.1, 0.3, dim))
    x = 0.3 * waves
    x[:, PITCH] = F.one_hot(level, LEVELS).float() + 0.05 * waves[:, PITCH]
    x[:, CONSTANT] = 1.02
    return x


def told_by(codec: Codec) -> Front:
    """Probes that read smooth envelopes out of the made-up stream."""
    front, generator = Front(codec, torch.full((ENVELOPE,), -1.0)), torch.Generator().manual_seed(2)
    shapes = torch.randn(3, ENVELOPE // SUBFRAMES, generator=generator)
    smooth = F.avg_pool1d(shapes[None], 31, 1, 15, count_include_pad=False)[0]
    slopes = torch.linspace(0.5, 1.5, SUBFRAMES)[:, None, None]
    with torch.no_grad():
        front.envelope.weight[:, 100:103] = 8 * (slopes * smooth.T).flatten(0, 1)
        front.pitch.weight.zero_()
        front.pitch.bias.fill_(0.1)
        front.pitch.weight[:, PITCH] = torch.eye(LEVELS)
        front.pitch.weight[:, CONSTANT] = -0.1 / 1.02
    return front


def test_gates_make_amplitudes_of_log_amplitudes() -> None:
    log = torch.linspace(HARMONIC_RANGE[0] + 1, HARMONIC_RANGE[1], 50)
    made = LIFT * amplitude(GainCurves.fit().harmonic, log, product=True)
    torch.testing.assert_close(made, log.exp(), rtol=0.1, atol=0)


def test_the_lapped_transform_keeps_what_is_below_its_groups() -> None:
    analysis, synthesis, frequency = transform()
    time = torch.arange(6 * PATCH) / (2 * PATCH)
    tone = torch.sin(2 * torch.pi * 0.4 * EXACT * time)  # a bin is half a period of a window wide
    windows = tone.unfold(0, 2 * PATCH, PATCH)
    parts = windows @ analysis @ synthesis.T
    made = parts[:-1, PATCH:] + parts[1:, :PATCH]
    torch.testing.assert_close(made.flatten(), tone[PATCH:-PATCH], atol=0.02, rtol=0)
    assert torch.all(frequency.diff() > 0)
    assert SUBFRAMES * PATCH == FRAME


def test_it_multiplies_excitation_and_gains() -> None:
    """What the decoder says is the lapped transform's synthesis from the probes' envelopes and pitch."""
    torch.manual_seed(0)
    vectors = np.random.default_rng(0).standard_normal((512, 32)).astype(np.float32)
    codec = new_codec(ModelConfig.load(PARAMS), vectors)
    front, x = told_by(codec), stream(15, codec.config.dim)
    construct(codec, front, stream(300, codec.config.dim), sounds())
    with torch.no_grad():
        log_gains = front.envelope(x).view(-1, ENVELOPE // SUBFRAMES)
        y = x.T[None]
        for block in list(codec.decoder_blocks)[2:]:
            y = block(y)
        made = codec.output_proj(y)[0].T.flatten()
    analysis, synthesis, frequency = transform()
    pulses = torch.from_numpy(sounds().excitations[x[:, PITCH].argmax(1) - 1]).flatten()
    noise = torch.from_numpy(sounds().noise).repeat(len(x))
    between = (log_gains[1:] + log_gains[:-1]) / 2  # a window covers two subframes
    bands = (HARMONIC_BANDS, log_gains.shape[1] - HARMONIC_BANDS)
    harmonic, hiss = (
        part @ torch.from_numpy(mel_hats(frequency.numpy(), count)).T
        for part, count in zip(between.split(bands, 1), bands, strict=True)
    )
    parts = (
        pulses.unfold(0, 2 * PATCH, PATCH) @ analysis * harmonic.exp()
        + noise.unfold(0, 2 * PATCH, PATCH) @ analysis * hiss.exp()
    ) @ synthesis.T
    expected = (parts[:-1, PATCH:] + parts[1:, :PATCH]).flatten()  # from the second patch on
    error = made[LATE + PATCH :][: len(expected)] - expected
    assert error.square().mean() < 0.05 * expected.square().mean()


@pytest.mark.parametrize("shares", [(0.46, 0.44), (0.6, 0.6), (0.1, 0.1)])
def test_a_pitch_between_two_levels_is_not_loud(shares: tuple[float, float]) -> None:
    """A language model's frames may share the pitch between neighbours: one, both or neither passes."""
    torch.manual_seed(0)
    vectors = np.random.default_rng(0).standard_normal((512, 32)).astype(np.float32)
    codec = new_codec(ModelConfig.load(PARAMS), vectors)
    construct(codec, told_by(codec), stream(300, codec.config.dim), sounds())
    clear = stream(15, codec.config.dim)
    unsure = clear.clone()
    unsure[7, PITCH] = torch.tensor(shares) @ torch.eye(LEVELS)[3:5]
    peaks = []
    for x in (clear, unsure):
        y = x.T[None]
        with torch.no_grad():
            for block in list(codec.decoder_blocks)[2:]:
                y = block(y)
            peaks.append(codec.output_proj(y).abs().max())
    assert peaks[1] < 2 * peaks[0]


def test_a_feed_forward_holds_so_many_units() -> None:
    codec = new_codec(ModelConfig.load(PARAMS), np.zeros((512, 32), np.float32))
    layer, dim = codec.decoder_blocks[1].layers[0], codec.config.dim
    with torch.no_grad():
        units = Units(layer, torch.ones(dim))
        rows = torch.randn(500, dim)
        units.add(rows, rows, rows)
        with pytest.raises(ValueError, match="512"):
            units.add(rows[:20], rows[:20], rows[:20])
        x = torch.randn(dim)
        normed = layer.ffn_norm(x)
        gate = rows @ normed
        expected = (F.silu(gate) * gate) @ rows
        torch.testing.assert_close(layer.feed_forward(normed), expected, rtol=1e-3, atol=1e-2)
