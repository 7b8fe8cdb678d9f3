"""Embeddings, prompt, voices and the autoregressive backbone (format B.2, B.3, B.7, C "A voice")."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from tests.oracle import layers
from tests.oracle.layers import Array, Tensors

BOS, AUDIO, BEGIN_AUDIO, REPEAT_AUDIO_TEXT, NEXT_AUDIO_TEXT = 1, 24, 25, 35, 36
TOKENS = "mm_audio_embeddings.tok_embeddings.weight"
CODE_TABLE = "mm_audio_embeddings.audio_codebook_embeddings.embeddings.weight"


def hidden_states(x: Array, tensors: Tensors, config: ModelConfig) -> Array:
    """Embeddings [T, dim] at positions 0 .. T-1 -> the normed hidden states [T, dim]."""
    backbone = config.backbone
    for i in range(backbone.n_layers):
        x = layers.transformer_layer(
            x,
            tensors,
            f"layers.{i}.",
            backbone.head_dim,
            backbone.norm_eps,
            layers.causal,
            backbone.rope_theta,
        )
    return final_norm(x, tensors["norm.weight"], backbone.norm_eps)


def final_norm(x: Array, weight: Array, eps: float) -> Array:
    return layers.rms_norm(x, weight, eps)


def table_row(codebook: int, value: int, config: ModelConfig) -> int:
    """Row of a value (the +2 included) of a codebook: 0, then 8194 + 23 (k - 1) in the 4B model."""
    if codebook == 0:
        return value
    semantic = config.codec.semantic_codebook_size + 2
    acoustic = config.codec.acoustic_codebook_size + 2
    return semantic + acoustic * (codebook - 1) + value


def embed_values(values: NDArray[np.int64], tensors: Tensors, config: ModelConfig) -> Array:
    """One frame of values [1 + n_acoustic] -> the sum of its rows [dim], and nothing else."""
    table = tensors[CODE_TABLE]
    total = np.zeros(table.shape[1])
    for codebook, value in enumerate(values):
        total += table[table_row(codebook, int(value), config)]
    return total


def voice_rows(codes: NDArray[np.int64], tensors: Tensors, config: ModelConfig) -> Array:
    """Codes without the +2 [F, 1 + n_acoustic] -> rows [F + 1, dim]; the last is the END frame."""
    frames = [*(codes + 2), end_frame(codes.shape[1])]
    return np.array([embed_values(frame, tensors, config) for frame in frames])


def end_frame(n_codebooks: int) -> NDArray[np.int64]:
    """The frame that ends a voice: END, and EMPTY in every other codebook."""
    return np.array([1] + [0] * (n_codebooks - 1))


def prompt_ids(text_ids: list[int], n_voice: int) -> list[int]:
    voice = [AUDIO] * n_voice
    return [BOS, BEGIN_AUDIO, *voice, NEXT_AUDIO_TEXT, *text_ids, REPEAT_AUDIO_TEXT, BEGIN_AUDIO]


def prompt_embeddings(text_ids: list[int], voice: Array, tensors: Tensors) -> Array:
    """[T + N + 5, dim]: token rows, the voice's rows in the place of the [AUDIO] tokens."""
    remaining = list(voice)
    rows = []
    for token in prompt_ids(text_ids, len(voice)):
        rows.append(remaining.pop(0) if token == AUDIO else tensors[TOKENS][token])
    return np.array(rows)
