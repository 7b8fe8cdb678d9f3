"""Free-running and teacher-forced generation with noise as an input (format B.4 - B.7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.config import END_VALUE, SPECIAL_CODES
from flowvox.reference.flow import PUBLISHED, quantize_latents
from flowvox.reference.model import VoxtralTTS
from flowvox.schedule import Sampling


@dataclass(frozen=True)
class Generation:
    """codes: int32 [frames, 37] without the +2; ended: the model emitted END by itself."""

    codes: NDArray[np.int32]
    ended: bool


@dataclass(frozen=True)
class TeacherForced:
    """What the model says before each frame of a given sequence, and after its last one.

    hidden: [F + 1, dim]; semantic_logits: [F + 1, rows], masked; latents: [F + 1, 36], not clamped.
    """

    hidden: Tensor
    semantic_logits: Tensor
    latents: Tensor


@torch.inference_mode()
def generate(
    model: VoxtralTTS,
    prompt_embeddings: Tensor,
    noise: Tensor,
    sampling: Sampling = PUBLISHED,
) -> Generation:
    """Frames until END, at most one per row of `noise`.

    prompt_embeddings: [P, dim]; noise: [max_frames, 36], row t belongs to frame t. Frame 0 is
    decoded from the hidden state of the last prompt token.
    """
    levels = model.config.codec.acoustic_codebook_size
    cache = model.backbone.new_cache(len(prompt_embeddings) + len(noise))
    hidden = model.backbone(prompt_embeddings[None], cache)[:, -1]
    frames: list[Tensor] = []
    for row in noise:
        value = model.flow.semantic_logits(hidden).argmax(dim=-1)
        if int(value) == END_VALUE:
            return Generation(_stack(frames, model), ended=True)
        latents = model.flow.sample(hidden, row[None], sampling)
        codes = quantize_latents(latents, levels)
        values = torch.cat([value[:, None], codes + SPECIAL_CODES], dim=-1)
        frames.append(values[0] - SPECIAL_CODES)
        hidden = model.backbone(model.backbone.embed_values(values)[None], cache)[:, -1]
    return Generation(_stack(frames, model), ended=False)


def _stack(frames: list[Tensor], model: VoxtralTTS) -> NDArray[np.int32]:
    codes = np.zeros((len(frames), model.config.n_codebooks), dtype=np.int32)
    for t, frame in enumerate(frames):
        codes[t] = frame.numpy()
    return codes


@torch.inference_mode()
def teacher_forced(
    model: VoxtralTTS,
    prompt_embeddings: Tensor,
    codes: Tensor,
    noise: Tensor,
    sampling: Sampling = PUBLISHED,
) -> TeacherForced:
    """One causal pass over prompt + codes [F, 37] (without the +2); noise: [F + 1, 36]."""
    frames = model.backbone.embed_values(codes.long() + SPECIAL_CODES)
    sequence = torch.cat([prompt_embeddings, frames])
    hidden = model.backbone(sequence[None])[0, len(prompt_embeddings) - 1 :]
    logits = model.flow.semantic_logits(hidden)
    latents = model.flow.sample(hidden, noise, sampling)
    return TeacherForced(hidden, logits, latents)


@torch.inference_mode()
def decode_audio(model: VoxtralTTS, codes: NDArray[np.int32]) -> NDArray[np.float32]:
    """codes [F, 37] -> float32 samples [F * frame_samples]; empty for no frames."""
    if len(codes) == 0:
        return np.zeros(0, dtype=np.float32)
    samples: Tensor = model.codec.decode(torch.from_numpy(codes).long()[None])[0]
    return samples.float().numpy()
