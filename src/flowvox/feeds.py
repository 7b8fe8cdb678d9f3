"""Inputs of the graphs that have a state, at the start of an utterance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.graphs import TensorSpec, cache_specs, decoder_state_specs
from flowvox.schedule import rope_tables

Feeds = dict[str, NDArray[Any]]


def backbone_feeds(
    config: ModelConfig, embeddings: NDArray[np.float32], cache: str = "float32"
) -> Feeds:
    """The whole sequence [1, S, dim] at once, with a cache of just its length and dtype `cache`."""
    positions = embeddings.shape[1]
    cos, sin = rope_tables(config.backbone, positions)
    length = np.array([positions], dtype=np.int32)
    return {
        "embeddings": embeddings,
        "seqlens_k": length - 1,
        "total_length": length,
        "rope_cos": cos,
        "rope_sin": sin,
        **_zeros(cache_specs(config, "past", cache), positions),
    }


def decoder_feeds(config: ModelConfig, codes: NDArray[np.int64]) -> Feeds:
    """The first frames [1, F, 37] of an utterance, codes without the +2."""
    state = _zeros(decoder_state_specs(config.codec, "state"), 0)
    return {"codes": codes, "position": np.zeros(1, dtype=np.int64), **state}


def _zeros(specs: Sequence[TensorSpec], symbolic: int) -> Feeds:
    return {
        spec.name: np.zeros([n if isinstance(n, int) else symbolic for n in spec.shape], spec.dtype)
        for spec in specs
    }
