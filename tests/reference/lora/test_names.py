"""Modules by the names of Mistral, of our reference and of transformers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import published_params

from flowvox.config import ModelConfig
from flowvox.reference.lora.names import Place, from_half_split, locate
from flowvox.tensors import checkpoint_tensors

CONFIG = ModelConfig.from_dict(published_params())
SHAPES = checkpoint_tensors(CONFIG, encoder=False)


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("layers.25.attention.wq", Place("layers.25.attention.wq.weight")),
        ("backbone.layers.0.feed_forward.w2", Place("layers.0.feed_forward.w2.weight")),
        ("model.layers.3.self_attn.q_proj", Place("layers.3.attention.wq.weight", 32)),
        ("model.layers.3.self_attn.k_proj", Place("layers.3.attention.wk.weight", 8)),
        ("model.layers.3.self_attn.v_proj", Place("layers.3.attention.wv.weight")),
        ("layers.3.self_attn.o_proj", Place("layers.3.attention.wo.weight")),
        ("language_model.model.layers.0.mlp.gate_proj", Place("layers.0.feed_forward.w1.weight")),
        ("model.language_model.layers.0.mlp.up_proj", Place("layers.0.feed_forward.w3.weight")),
        ("model.layers.0.mlp.down_proj", Place("layers.0.feed_forward.w2.weight")),
        ("acoustic_transformer.layers.2.attention.wk",
         Place("acoustic_transformer.layers.2.attention.wk.weight")),
        ("flow.llm_projection", Place("acoustic_transformer.llm_projection.weight")),
        ("acoustic_transformer.semantic_codebook_output",
         Place("acoustic_transformer.semantic_codebook_output.weight")),
        ("codec.decoder_blocks.1.layers.0.attention.wo",
         Place("audio_tokenizer.decoder_blocks.1.layers.0.attention.wo.weight")),
        ("layers.26.attention.wq", None),
        ("model.layers.26.self_attn.q_proj", None),
        ("model.layers.0.self_attn.qkv_proj", None),
        ("vision.layers.0.self_attn.q_proj", None),
        ("layers.0.attention_norm", None),
        ("mm_audio_embeddings.tok_embeddings", None),
        ("lm_head", None),
    ],
)  # fmt: skip
def test_places(module: str, place: Place | None) -> None:
    assert locate(module, SHAPES, CONFIG.backbone) == place


def test_half_split_rows_of_two_heads_of_six() -> None:
    rows = np.arange(12, dtype=np.float32)[:, None]
    found = from_half_split(rows, heads=2)[:, 0]
    assert found.tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


@given(heads=st.integers(1, 4), half=st.integers(1, 8), seed=st.integers(0, 99))
def test_both_layouts_rotate_to_the_same_scores(heads: int, half: int, seed: int) -> None:
    """transformers: x cos + rotate_half(x) sin. Here: pairs of neighbours as complex numbers."""
    draw = np.random.default_rng(seed)
    query, key = draw.normal(size=(2, heads * 2 * half, 1)).astype(np.float32)
    angles = draw.uniform(0, 6, size=(2, half))

    def split(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
        x = x.reshape(heads, 2 * half)
        turned = np.concatenate([-x[:, half:], x[:, :half]], axis=1)
        return x * np.tile(np.cos(angle), 2) + turned * np.tile(np.sin(angle), 2)

    def neighbours(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
        pairs = from_half_split(x, heads).reshape(heads, half, 2)
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angle)
        return np.stack([turned.real, turned.imag], -1).reshape(heads, -1)

    theirs = (split(query, angles[0]) * split(key, angles[1])).sum(-1)
    ours = (neighbours(query, angles[0]) * neighbours(key, angles[1])).sum(-1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
