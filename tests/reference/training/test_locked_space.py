"""The code space: what a frame says of its envelopes, and the network that finds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flowvox.reference.training.locked.codes import CodeSpace, excitation, rounded
from flowvox.reference.training.locked.features import (
    BINS,
    ENVELOPE,
    FLOORS,
    HARMONIC_BANDS,
    HARMONIC_FLOOR,
    SUBFRAMES,
    frame_features,
    mel_hats,
)
from flowvox.reference.training.locked.frames import CROP
from flowvox.reference.training.locked.glides import MAX_CYCLES, MIN_CYCLES
from flowvox.reference.training.locked.space import (
    COMPONENTS,
    SPREAD,
    VALUES,
    Autoencoder,
    Decoder,
    Frames,
    components,
    save,
)
from flowvox.reference.training.locked.teacher import Parameters


def made_up(frames: int, seed: int = 0) -> Frames:
    generator = torch.Generator().manual_seed(seed)
    return Frames(
        torch.randn(frames, COMPONENTS, generator=generator),
        torch.rand(frames, 2, generator=generator) * 2 - 1,
        torch.randint(512, (frames,), generator=generator),
    )


def steady(level: float, voiced: bool) -> Parameters:
    """Flat spectra of both sources for 0.4 s."""
    flat = np.full((32, BINS), level, np.float32)
    f0 = np.full(32, 150.0 if voiced else 0, np.float32)
    zeros = np.zeros(32, np.int64)
    return Parameters(flat, flat, np.zeros_like(flat), f0, zeros, zeros)


def test_hats_interpolate() -> None:
    """They sum to 1 everywhere, so that a flat spectrum keeps its level."""
    hats = mel_hats(np.linspace(0, 12000, 50), 40)
    np.testing.assert_allclose(hats.sum(axis=1), 1, atol=1e-5)


def test_features_are_levels_above_the_floors() -> None:
    envelopes, share = frame_features(steady(0.5, voiced=True))
    assert envelopes.shape == (5, ENVELOPE)
    np.testing.assert_allclose(envelopes, 0.5, atol=1e-3)
    np.testing.assert_array_equal(share, 1)
    envelopes, share = frame_features(steady(0.5, voiced=False))
    harmonic = envelopes.reshape(5, SUBFRAMES, -1)[:, :, :HARMONIC_BANDS]
    np.testing.assert_allclose(harmonic, HARMONIC_FLOOR, atol=1e-3)
    np.testing.assert_array_equal(share, 0)


def test_the_committed_space_spreads_its_values() -> None:
    """Envelopes a little around the mean give values that use the range and stay inside it."""
    space = CodeSpace.load()
    noise = np.random.default_rng(3).standard_normal((200, ENVELOPE)).astype(np.float32)
    values = space.values(space.mean + noise)
    assert values.shape == (200, VALUES)
    assert np.abs(values).max() < 1
    assert space.scale.min() > 0
    quiet = space.values(np.full((1, ENVELOPE), -9, np.float32))
    np.testing.assert_array_equal(quiet, space.values(FLOORS[None]))  # nothing is heard below


def test_pitch_periods_have_codes_of_their_own() -> None:
    cycles = np.arange(MIN_CYCLES, MAX_CYCLES + 1)
    codes = rounded(excitation(cycles, np.zeros(len(cycles), np.float32)))
    assert codes[:, 0].tolist() == [n - MIN_CYCLES + 1 for n in cycles]
    assert set(codes[:, 1]) == {0}


def test_the_decoder_is_causal() -> None:
    torch.manual_seed(0)
    decoder, frames = Decoder(), Frames(*(x[None] for x in made_up(12)))
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    values = torch.rand(1, 12, VALUES)
    changed = values.clone()
    changed[:, 8:] = 0
    before, after = decoder(values, frames), decoder(changed, frames)
    torch.testing.assert_close(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


def test_it_begins_with_the_first_components_and_learns() -> None:
    torch.manual_seed(0)
    frames = made_up(3 * CROP)
    model = Autoencoder(torch.ones(COMPONENTS))
    batch = frames.crops(torch.tensor([0, CROP, 3 * CROP]), 4)
    values = model.encode(batch.components)
    torch.testing.assert_close(values, torch.tanh(SPREAD * batch.components[..., :VALUES]))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    errors = []
    for _ in range(12):
        torch.manual_seed(1)
        terms = model.losses(batch)
        errors.append(terms["envelope"].item())
        terms["envelope"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert errors[-1] < 0.9 * errors[0]


def test_what_is_saved_is_the_encoder(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    envelopes = generator.uniform(-3, 2, (3000, ENVELOPE)).astype(np.float32)
    mean, basis = components(envelopes)
    np.testing.assert_allclose(basis.T @ basis, np.eye(COMPONENTS), atol=1e-4)
    projected = torch.from_numpy((envelopes - mean) @ basis)
    model = Autoencoder(projected.std(0))
    frames = made_up(CROP)._replace(components=projected[:CROP])
    save(model, mean, basis, Frames(*(x[None] for x in frames)), tmp_path / "code_space.npz")
    space = CodeSpace(**dict(np.load(tmp_path / "code_space.npz")))
    expected = model.encode(projected[:CROP]).detach().numpy()
    np.testing.assert_allclose(space.values(envelopes[:CROP]), expected, atol=1e-4)
    np.testing.assert_allclose(space.scale, projected.std(0)[:VALUES] / SPREAD, rtol=1e-4)
