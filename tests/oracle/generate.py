"""Free-running generation, the whole sequence anew at every frame (format B.4 to B.7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from tests.oracle import backbone, flow
from tests.oracle.layers import Array, Tensors

END = 1


def first_sequence(prompt: Array, tensors: Tensors) -> list[Array]:
    """Frame 0 is decoded at the last prompt token, so nothing comes between."""
    return list(prompt)


def generate(
    prompt: Array, noise: Array, tensors: Tensors, config: ModelConfig
) -> tuple[NDArray[np.int64], bool]:
    """Prompt rows [P, dim], noise [frames, n] -> codes without the +2 [F, 1 + n], whether END came."""
    sequence = first_sequence(prompt, tensors)
    frames: list[NDArray[np.int64]] = []
    ended = False
    for draw in noise:
        hidden = backbone.hidden_states(np.array(sequence), tensors, config)[-1]
        semantic = flow.semantic_value(hidden, tensors, config)
        if semantic == END:
            ended = True
            break
        latents = flow.sample(draw, hidden, tensors, config)
        acoustic = flow.quantize(latents, config.codec.acoustic_codebook_size)
        values = np.array([semantic, *(acoustic + 2)])
        frames.append(values - 2)
        sequence.append(backbone.embed_values(values, tensors, config))
    return np.array(frames, dtype=np.int64).reshape(len(frames), config.n_codebooks), ended
