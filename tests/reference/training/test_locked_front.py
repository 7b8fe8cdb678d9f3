"""The decoder's first stage, taught envelopes before the decoder is taught waveforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flowvox.config import ModelConfig
from flowvox.reference.training.codec import new_codec
from flowvox.reference.training.locked.codes import LEVELS, CodeSpace
from flowvox.reference.training.locked.features import ENVELOPE
from flowvox.reference.training.locked.frames import CROP, Gathered
from flowvox.reference.training.locked.front import (
    BATCH,
    LIVELIEST,
    Front,
    Told,
    crops,
    enliven,
    with_noise,
)

PARAMS = Path(__file__).parents[3] / "reference" / "training" / "locked" / "params.json"


def test_its_names_are_the_decoders() -> None:
    """What it learns goes into the codec by name; it starts from the mean envelope."""
    vectors = np.random.default_rng(0).standard_normal((512, 32)).astype(np.float32)
    codec = new_codec(ModelConfig.load(PARAMS), vectors)
    front = Front(codec, torch.arange(ENVELOPE).float())
    shared = {k: v for k, v in front.state_dict().items() if k in codec.state_dict()}
    assert {name.split(".")[1] for name in shared} == {"0", "1"}
    assert len(front.state_dict()) == len(shared) + 3  # two probes
    latents = torch.randn(2, codec.config.latent_dim, 6)
    envelopes, pitch = front(latents)
    torch.testing.assert_close(envelopes, torch.arange(ENVELOPE).float().expand(2, 6, -1))
    assert pitch.shape == (2, 6, LEVELS)


def test_noise_spares_the_semantic_vector_and_the_pitch() -> None:
    torch.manual_seed(0)
    latents = torch.rand(40, 5, 7) * 2 - 1
    noisy = with_noise(latents, 3)
    torch.testing.assert_close(noisy[:, :3], latents[:, :3])
    off = (noisy[:, 3:] != latents[:, 3:]).flatten(1).any(1).float().mean()
    assert 0.2 < off < 0.8
    assert noisy.abs().max() <= 1


def test_what_is_told_gets_the_spread_of_the_truth() -> None:
    """Half of a component's variance was foretold: it is stretched by the root of 2, the mean stays."""
    torch.manual_seed(0)
    codec = new_codec(ModelConfig.load(PARAMS), np.zeros((512, 32), np.float32))
    front = Front(codec, torch.ones(ENVELOPE))
    stream = torch.randn(4000, codec.config.dim)
    with torch.no_grad():
        front.envelope.weight[:2, :2] = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        told = front.envelope(stream)
        true = told.clone()
        true[:, 0] += 3 * torch.randn(4000)  # as much variance again
        true[:, 1] += 100 * torch.randn(4000)  # out of reach
        enliven(front, Told(stream, true))
        lively = front.envelope(stream)
    torch.testing.assert_close(lively.mean(0), told.mean(0), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        lively[:, 0].std() / told[:, 0].std(), torch.tensor(2**0.5), atol=0.1, rtol=0
    )
    torch.testing.assert_close(
        lively[:, 1].std() / told[:, 1].std(), torch.tensor(LIVELIEST), atol=0.1, rtol=0
    )


def test_targets_are_the_blocks_that_end_in_the_frames() -> None:
    """From the middle of the frame before to the middle of this one."""
    halves = np.arange(2 * CROP).reshape(CROP, 2) / 2  # of frame k: k and k + 1/2
    speech = Gathered(
        envelopes=np.repeat(halves, ENVELOPE // 2, axis=1).astype(np.float16),
        excitation=np.zeros((CROP, 2), np.float32),
        semantic=np.zeros(CROP, np.int64),
        starts=np.array([0, CROP]),
    )
    codes, blocks = crops(speech, torch.from_numpy(speech.starts), CodeSpace.load())
    assert codes.shape == (BATCH, CROP, 37)
    expected = torch.arange(CROP)[:, None] + torch.tensor([-0.5, 0.0])
    expected[0, 0] = 0  # not known
    found = blocks.view(BATCH, CROP, 2, -1)
    torch.testing.assert_close(found, expected[None, :, :, None].expand_as(found))
