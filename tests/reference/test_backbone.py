"""The torch backbone against the oracle, and the errors that ports of it make (format B.2 - B.4)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracle import backbone as oracle
from tests.oracle import layers
from tests.oracle.compare import EXACT, NOTICED, Pair, difference, normal, random_codes
from tests.oracle.layers import Array, Tensors

from flowvox.config import ModelConfig
from flowvox.prompt import build_prompt, prompt_embeddings
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import load_model
from flowvox.reference.random_checkpoint import load_shape
from flowvox.reference.speak import embed_prompt
from flowvox.tokenizer import Tokenizer

LENGTH = 23


def embeddings(pair: Pair) -> Array:
    return 0.5 * normal((LENGTH, pair.config.backbone.dim), 3)


def torch_hidden(pair: Pair, x: Array) -> Array:
    return pair.model.backbone(torch.from_numpy(x)[None])[0].numpy()


def test_hidden_states(pair: Pair) -> None:
    x = embeddings(pair)
    expected = oracle.hidden_states(x, pair.tensors, pair.config)
    assert difference(torch_hidden(pair, x), expected) < EXACT


def half_split(head: Array, position: int, theta: float) -> Array:
    half = len(head) // 2
    angles = position * theta ** (-2 * np.arange(half) / len(head))
    a, b = head[:half], head[half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos])


right_rotate = layers.rotate


def swapped_gate(x: Array, tensors: Tensors, prefix: str) -> Array:
    gate = layers.silu(layers.linear(x, tensors[f"{prefix}w3.weight"]))
    up = layers.linear(x, tensors[f"{prefix}w1.weight"])
    return layers.linear(gate * up, tensors[f"{prefix}w2.weight"])


def layer_norm(x: Array, weight: Array, eps: float) -> Array:
    return np.array([(r - r.mean()) / np.sqrt(r.var() + eps) * weight for r in x])


ERRORS: dict[str, tuple[ModuleType, str, Any]] = {
    "RoPE on half-split pairs": (layers, "rotate", half_split),
    "RoPE with the flow head's theta": (layers, "rotate", lambda h, p, _: right_rotate(h, p, 1e4)),
    "RoPE turned backwards": (layers, "rotate", lambda h, p, theta: right_rotate(h, -p, theta)),
    "no RoPE": (layers, "rotate", lambda h, _p, _theta: h),
    "kv heads dealt out in turn": (layers, "kv_head", lambda h, _, n_kv: h % n_kv),
    "no causal mask": (layers, "causal", layers.unmasked),
    "a position does not see itself": (layers, "causal", lambda i, _: range(max(1, i))),
    "a sliding window": (layers, "causal", lambda i, _: range(max(0, i - 16), i + 1)),
    "gate and up projection swapped": (layers, "feed_forward", swapped_gate),
    "LayerNorm": (layers, "rms_norm", layer_norm),
    "no final norm": (oracle, "final_norm", lambda x, _weight, _eps: x),
}


@pytest.mark.parametrize("error", ERRORS)
def test_port_error_is_noticed(micro: Pair, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*ERRORS[error])
    x = embeddings(micro)
    wrong = oracle.hidden_states(x, micro.tensors, micro.config)
    assert difference(torch_hidden(micro, x), wrong) > NOTICED


def test_only_relative_positions_matter(micro: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error: positions that start elsewhere give the same hidden states."""
    monkeypatch.setattr(layers, "rotate", lambda h, p, theta: right_rotate(h, p + 5, theta))
    x = embeddings(micro)
    shifted = oracle.hidden_states(x, micro.tensors, micro.config)
    assert difference(torch_hidden(micro, x), shifted) < EXACT


@pytest.mark.parametrize("prompt", [1, 7, LENGTH - 1])
def test_cached_steps_equal_one_pass(pair: Pair, prompt: int) -> None:
    x = torch.from_numpy(embeddings(pair))[None]
    cache = pair.model.backbone.new_cache(LENGTH)
    parts = [x[:, :prompt], *x[:, prompt:].split(1, dim=1)]
    stepwise = torch.cat([pair.model.backbone(part, cache) for part in parts], dim=1)
    assert difference(stepwise, pair.model.backbone(x)) < EXACT


def test_cache_takes_blocks_of_any_length(micro: Pair) -> None:
    x = torch.from_numpy(embeddings(micro))[None]
    cache = micro.model.backbone.new_cache(64)
    blocks = x.split([3, 9, 1, LENGTH - 13], dim=1)
    blockwise = torch.cat([micro.model.backbone(block, cache) for block in blocks], dim=1)
    assert difference(blockwise, micro.model.backbone(x)) < EXACT


def test_float32_is_close_to_float64(micro: Pair) -> None:
    single = load_model(Checkpoint.open(micro.path))
    x = embeddings(micro)
    hidden = single.backbone(torch.from_numpy(x).float()[None])[0]
    assert 0 < difference(hidden, torch_hidden(micro, x)) < 1e-5


# ---- embeddings --------------------------------------------------------------------------------


def torch_voice(pair: Pair, codes: Array) -> Array:
    """A voice as the format makes it: codes + 2, one END frame, summed from the code table."""
    end = oracle.end_frame(pair.config.n_codebooks)
    values = torch.from_numpy(np.concatenate([codes + 2, end[None]]))
    return pair.model.backbone.embed_values(values).numpy()


def test_voice_rows_and_feedback_embeddings(pair: Pair) -> None:
    codes = random_codes(pair.config, 11, seed=4)
    rows = oracle.voice_rows(codes, pair.tensors, pair.config)
    assert rows.shape == (12, pair.config.backbone.dim)
    assert difference(torch_voice(pair, codes), rows) < EXACT


@pytest.mark.parametrize(("codebook", "offset"), [(0, 0), (1, 8194), (2, 8217), (36, 8999)])
def test_published_offsets(codebook: int, offset: int) -> None:
    config = ModelConfig.from_dict(load_shape("4b"))
    assert config.code_offsets[codebook] == offset
    assert oracle.table_row(codebook, 0, config) == offset


EMBEDDING_ERRORS: dict[str, Any] = {
    "no +2 in the offsets": lambda k, value, c: (
        value if k == 0 else c.codec.semantic_codebook_size + 23 * (k - 1) + value
    ),
    "acoustic codebooks share one block": lambda k, value, c: (
        value if k == 0 else c.semantic_rows + value
    ),
    "offsets counted from codebook 0": lambda k, value, c: (
        value if k == 0 else c.semantic_rows + c.acoustic_rows * k + value
    ),
    "values without the +2": lambda k, value, c: oracle_row(k, max(0, value - 2), c),
}
oracle_row = oracle.table_row


@pytest.mark.parametrize("error", EMBEDDING_ERRORS)
def test_embedding_error_is_noticed(
    micro: Pair, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = random_codes(micro.config, 11, seed=4)
    monkeypatch.setattr(oracle, "table_row", EMBEDDING_ERRORS[error])
    wrong = oracle.voice_rows(codes, micro.tensors, micro.config)
    assert difference(torch_voice(micro, codes), wrong) > NOTICED


def test_voices_of_a_random_checkpoint_end_with_the_end_frame(micro: Pair) -> None:
    """Stored in bf16, so equal to 8 bits: the row of (END, 0, ..., 0), not of (END, 2, ..., 2)."""
    checkpoint = Checkpoint.open(micro.path)
    end = oracle.embed_values(
        oracle.end_frame(micro.config.n_codebooks), micro.tensors, micro.config
    )
    for name in checkpoint.voices():
        assert difference(checkpoint.voice(name)[-1], end) < 2**-8


def test_prompt_order_and_rows(micro: Pair) -> None:
    text, voice = [40, 24 + 1000, 1200, 33], normal((6, micro.config.backbone.dim), 5)
    ids = build_prompt(text, len(voice))
    assert ids == oracle.prompt_ids(text, len(voice))
    rows = prompt_embeddings(ids, micro.tensors[oracle.TOKENS][ids], voice)
    expected = oracle.prompt_embeddings(text, voice, micro.tensors)
    np.testing.assert_array_equal(rows, expected.astype(np.float32))


def test_text_to_prompt_embeddings(micro: Pair) -> None:
    """Tables and voices are bf16, so float32 carries them without rounding."""
    checkpoint, text = Checkpoint.open(micro.path), "The storm, 20 miles off."
    prompt = embed_prompt(micro.model, checkpoint, text, "second")
    ids = Tokenizer.load(checkpoint.tokenizer_path).encode(text)
    voice = checkpoint.voice("second").astype(np.float64)
    np.testing.assert_array_equal(prompt, oracle.prompt_embeddings(ids, voice, micro.tensors))
