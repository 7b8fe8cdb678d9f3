"""Real activations of the reference, per graph: what an export is checked against."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from flowvox.config import DEFAULT_GUIDANCE, DEFAULT_STEPS, SPECIAL_CODES
from flowvox.graphs import (
    BACKBONE,
    CODEC_DECODER,
    CODEC_ENCODER,
    FLOW,
    cache_specs,
    decoder_state_specs,
)
from flowvox.noise import frame_noise
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import generate
from flowvox.reference.model import VoxtralTTS
from flowvox.reference.speak import embed_prompt
from flowvox.schedule import flow_schedule, rope_tables

TEXT = "The quick brown fox jumps over the lazy dog."
FRAMES = 12
POSITIONS = 512


class Activations(NamedTuple):
    """Inputs of one graph and the reference's outputs, by tensor name."""

    feeds: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


@torch.inference_mode()
def record(model: VoxtralTTS, checkpoint: Checkpoint) -> dict[str, Activations]:
    """Speak a few frames with the first voice and record every graph's inputs and outputs."""
    config = model.config
    voice = next(iter(checkpoint.voices()))
    prompt = embed_prompt(model, checkpoint, TEXT, voice)
    noise = frame_noise(0, FRAMES, config.codec.acoustic_dim)
    codes = generate(model, prompt, torch.from_numpy(noise)).codes
    if len(codes) == 0:  # an untrained model may end at once; any codes will do
        codes = np.zeros((FRAMES, config.n_codebooks), dtype=np.int32)
    wide = torch.from_numpy(codes).long()
    sequence = torch.cat([prompt, model.backbone.embed_values(wide + SPECIAL_CODES)])[None]
    hidden = model.backbone(sequence)
    states = hidden[0, -len(codes) :]
    logits = model.flow.semantic_codebook_output(states)
    latents = model.flow.sample(states, torch.from_numpy(noise[: len(codes)]))
    samples = model.codec.decode(wide[None])

    length = np.array([sequence.shape[1]], dtype=np.int32)
    cos, sin = rope_tables(config.backbone, POSITIONS)
    recordings = {
        BACKBONE: Activations(
            {
                "embeddings": sequence.numpy(),
                "seqlens_k": length - 1,
                "total_length": length,
                "rope_cos": cos,
                "rope_sin": sin,
                **_zeros(cache_specs(config, "past"), POSITIONS),
            },
            {"hidden": hidden.numpy()},
        ),
        FLOW: Activations(
            {
                "hidden": states.numpy(),
                "noise": noise[: len(codes)],
                "schedule": flow_schedule("euler", DEFAULT_STEPS, DEFAULT_GUIDANCE),
            },
            {"semantic_logits": logits.numpy(), "latents": latents.numpy()},
        ),
        CODEC_DECODER: Activations(
            {
                "codes": wide[None].numpy(),
                "position": np.zeros(1, dtype=np.int64),
                **_zeros(decoder_state_specs(config.codec, "state"), 0),
            },
            {"samples": samples.numpy()},
        ),
    }
    if checkpoint.has_encoder:
        recordings[CODEC_ENCODER] = Activations(
            {"samples": samples.numpy()}, {"codes": model.codec.encode(samples).numpy()}
        )
    return recordings


def _zeros(specs: Any, symbolic: int) -> dict[str, NDArray[Any]]:
    return {
        spec.name: np.zeros(
            [axis if isinstance(axis, int) else symbolic for axis in spec.shape], dtype=spec.dtype
        )
        for spec in specs
    }
