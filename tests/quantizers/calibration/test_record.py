"""What calibration records: the model's own speech, and the inputs of its matrices on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowvox.config import SPECIAL_CODES
from flowvox.noise import frame_noise
from flowvox.quantizers.calibration.moments import Moments, load_statistics
from flowvox.quantizers.calibration.record import END_WEIGHT, collect, speak
from flowvox.quantizers.calibration.sites import all_sites
from flowvox.quantizers.calibration.speech import Spoken
from flowvox.quantizers.calibration.texts import script
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import generate
from flowvox.reference.model import VoxtralTTS, load_model
from flowvox.reference.speak import embed_prompt
from flowvox.reference.streamed import load_part, streamed_model
from flowvox.tensors import FLOW, checkpoint_tensors, component_of

FRAMES = 8
SHORT = 20  # frames that are enough for a word and not for a sentence


@pytest.fixture(scope="module")
def checkpoint(random_micro: Path) -> Checkpoint:
    return Checkpoint.open(random_micro)


@pytest.fixture(scope="module")
def streamed(checkpoint: Checkpoint) -> VoxtralTTS:
    model = streamed_model(checkpoint)
    load_part(model.flow, FLOW, checkpoint)
    return model


@pytest.fixture(scope="module")
def spoken(streamed: VoxtralTTS, checkpoint: Checkpoint) -> list[Spoken]:
    return speak(streamed, checkpoint, script(checkpoint.voices(), 3), FRAMES)


@pytest.fixture(scope="module")
def moments(
    streamed: VoxtralTTS, checkpoint: Checkpoint, spoken: list[Spoken]
) -> dict[str, Moments]:
    found: dict[str, Moments] = {}
    collect(streamed, checkpoint, spoken, lambda name, one: found.update({name: one}))
    return found


def test_together_they_say_what_each_says_alone(tiny: Path) -> None:
    """Prompts of three lengths at once, one of which ends before the others."""
    source = Checkpoint.open(tiny)
    whole, model = load_model(source), streamed_model(source)
    load_part(model.flow, FLOW, source)
    lines = [line for line in script(source.voices(), 20) if line.text == "Yes."]
    lines += script(source.voices(), 2)
    together = speak(model, source, lines, SHORT)
    assert {one.ended for one in together} == {True, False}
    for line, one in zip(lines, together, strict=True):
        noise = torch.from_numpy(frame_noise(line.seed, SHORT, source.config.codec.acoustic_dim))
        alone = generate(whole, embed_prompt(whole, source, line.text, line.voice), noise)
        np.testing.assert_array_equal(one.codes, alone.codes)
        assert one.ended == alone.ended


def test_every_matrix_of_backbone_and_flow_head_has_a_site(checkpoint: Checkpoint) -> None:
    tensors = [tensor for site in all_sites(checkpoint.config) for tensor in site.tensors]
    assert len(tensors) == len(set(tensors))
    shapes = checkpoint_tensors(checkpoint.config, encoder=True)
    matrices = {
        name
        for name, shape in shapes.items()
        if len(shape) == 2 and component_of(name) in {"backbone", "flow"}
    }
    assert set(tensors) == matrices


def test_moments_are_those_of_the_whole_model(
    checkpoint: Checkpoint, spoken: list[Spoken], moments: dict[str, Moments], tmp_path: Path
) -> None:
    """The same sequences through the resident model, one by one, with the same weights."""
    whole = load_model(checkpoint)
    width = checkpoint.config.codec.acoustic_dim
    last = checkpoint.config.flow.n_layers - 1
    watched = {
        "layers.1.attention.input": whole.backbone.layers[1].attention.wk,
        "layers.1.feed_forward.output": whole.backbone.layers[1].feed_forward.w2,
        f"{FLOW}layers.{last}.attention.input": whole.flow.layers[last].attention.wk,
        f"{FLOW}layers.{last}.attention.query": whole.flow.layers[last].attention.wq,
        f"{FLOW}time_projection": whole.flow.time_projection,
    }
    seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in watched}
    ended = False

    def see(name: str, x: torch.Tensor) -> None:
        rows = x.numpy().astype(np.float64)
        if name.startswith(FLOW):
            rows = rows if rows.ndim == 3 else rows[:, None]
            rows = rows[:, :1] if name.endswith("query") else rows
            weights = np.where(np.arange(len(rows)) < len(rows) / 2, 1.2**2, 0.2**2)
            weights = np.repeat(weights, rows.shape[1])
        else:
            weights = np.ones(rows.shape[1])
            weights[-1] = END_WEIGHT if ended else 1
        seen[name].append((rows.reshape(-1, rows.shape[-1]), weights))

    for name, module in watched.items():
        module.register_forward_pre_hook(lambda _, inputs, name=name: see(name, inputs[0]))
    for one in spoken:
        ended = one.ended
        prompt = embed_prompt(whole, checkpoint, one.line.text, one.line.voice)
        codes = torch.from_numpy(one.codes)
        frames = len(codes) + 1 - ended
        noise = torch.from_numpy(frame_noise(one.line.seed, frames, width))
        frame_rows = whole.backbone.embed_values(codes.long() + SPECIAL_CODES)
        hidden = whole.backbone(torch.cat([prompt, frame_rows])[None])[0, len(prompt) - 1 :]
        whole.flow.sample(hidden[:frames], noise)
    for name, parts in seen.items():
        x = np.concatenate([rows for rows, _ in parts])
        weights = np.concatenate([w for _, w in parts])
        expected = (x * weights[:, None]).T @ x / weights.sum()
        moments[name].save(tmp_path / "site.npz")
        found = load_statistics(tmp_path / "site.npz")
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found.hessian(), expected, atol=2e-5 * scale)
        np.testing.assert_allclose(found.mean_square, np.diag(expected), atol=2e-5 * scale)
        np.testing.assert_allclose(found.maximum, np.abs(x).max(axis=0), rtol=1e-4)
