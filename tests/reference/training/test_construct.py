"""A decoder of computed weights: what it says of envelopes and pitch that its first stage tells."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from flowvox.config import ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.training.codec import decoder_parts, new_codec
from flowvox.reference.training.locked.codes import LEVELS
from flowvox.reference.training.locked.construct import (
    BANDS,
    LATE,
    PITCHES,
    Units,
    construct,
    pair_codes,
)
from flowvox.reference.training.locked.features import (
    BINS,
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
from flowvox.reference.training.locked.glides import MIN_CYCLES, PAIRS
from flowvox.reference.training.locked.lapped import COEFFICIENTS, PATCH, WINDOW, transform
from flowvox.reference.training.locked.pace import paces
from flowvox.reference.training.locked.sounds import Sounds
from flowvox.reference.training.locked.synth import FRAME

PARAMS = Path(__file__).parents[3] / "reference" / "training" / "locked" / "params.json"
PITCH, CONSTANT = slice(0, LEVELS), 21  # dimensions of the made-up stream


@cache
def sounds() -> Sounds:
    """Of pulses of zero phase: no teacher is asked."""
    return Sounds.of(np.zeros(BINS, np.float32))


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
        front.pitch.weight[:, PITCH] = torch.eye(LEVELS)
        front.pitch.weight[0] = 0
        front.pitch.weight[0, CONSTANT] = 1 / 1.02
    return front


def test_gates_make_amplitudes_of_log_amplitudes() -> None:
    log = torch.linspace(HARMONIC_RANGE[0] + 1, HARMONIC_RANGE[1], 50)
    made = LIFT * amplitude(GainCurves.fit().harmonic, log, product=True)
    torch.testing.assert_close(made, log.exp(), rtol=0.1, atol=0)


def test_it_multiplies_excitation_and_gains() -> None:
    """What the decoder says is the lapped transform's synthesis from what the probes read.

    The pitch stays, and moves by a period, so that blocks of both kinds are heard.
    """
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
    heard, cycles = sounds(), (x[:, PITCH].argmax(1) - 1 + MIN_CYCLES).tolist()
    blocks = [
        heard.moving[PAIRS.index(pair)] if pair in PAIRS else heard.steady[pair[0] - MIN_CYCLES]
        for pair in pairwise(cycles)
    ]
    assert len(set(cycles)) > 3
    pulses = torch.from_numpy(np.concatenate(blocks)) @ analysis
    noise = torch.from_numpy(np.concatenate([heard.noise] * len(blocks))) @ analysis
    harmonic, hiss = (
        part @ torch.from_numpy(mel_hats(frequency.numpy(), part.shape[1])).T
        for part in log_gains[SUBFRAMES:].split((HARMONIC_BANDS, BANDS - HARMONIC_BANDS), 1)
    )
    parts = (pulses * harmonic.exp() + noise * hiss.exp()) @ synthesis.T
    expected = torch.zeros(len(made) + LATE + WINDOW)
    for eighth, part in enumerate(parts):  # where test_sounds.py finds them in the synthesis
        first = FRAME // 2 + eighth * PATCH + (PATCH - WINDOW) // 2
        expected[first + LATE :][:WINDOW] += part
    inner = slice(2 * SUBFRAMES * PATCH, len(made))  # where no window is missing
    error = (made - expected[: len(made)])[inner]
    assert error.square().mean() < 0.05 * expected[inner].square().mean()


def test_the_codes_of_pairs_are_apart() -> None:
    codes = pair_codes()
    likeness = codes @ codes.T - torch.eye(len(PAIRS))
    assert len(codes) == len(PAIRS)
    assert likeness.max() < 0.501


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


def test_what_was_computed_moves_slowest() -> None:
    """Attention and the units that are left at the full rate, computed ones at a fiftieth of it; of the
    output only what reads coefficients."""
    codec = new_codec(ModelConfig.load(PARAMS), np.zeros((512, 32), np.float32))
    filled = construct(codec, told_by(codec), stream(300, codec.config.dim), sounds())
    decoder = decoder_parts(codec)
    paced = paces(decoder, filled)
    for name, pace in paced.items():
        torch.broadcast_to(torch.as_tensor(pace), decoder.get_parameter(name).shape)
    used = filled[-1].used
    assert 0 < used < filled[-1].ffn.w1.out_features
    last = "decoder_blocks.7.layers.4"
    column, row = paced[f"{last}.feed_forward.w2.weight"], paced[f"{last}.feed_forward.w1.weight"]
    for pace in (column, row):
        assert isinstance(pace, Tensor)
        assert pace.flatten().unique(return_counts=True)[1].tolist() == [used, 512 - used]
    silent = filled[-1].ffn.w2.weight[:, column.flatten() == 1]
    assert not silent.any()
    assert paced[f"{last}.attention.wo.weight"] == 1
    assert f"{last}.ffn_norm.weight" not in paced
    output = paced["output_proj.conv.parametrizations.weight.original1"]
    assert isinstance(output, Tensor)
    assert output.flatten()[:COEFFICIENTS].all()
    assert not output.flatten()[COEFFICIENTS:].any()


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
