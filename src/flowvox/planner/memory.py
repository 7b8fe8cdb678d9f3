"""Memory while speaking: weights in the layout they run in, KV cache, activations, the process."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from flowvox.config import ModelConfig
from flowvox.graphs import cache_specs
from flowvox.planner.formats import resident, stored_bytes
from flowvox.planner.work import CODEC_FRAMES, rules_by_tensor
from flowvox.recipe import TABLES, Recipe
from flowvox.tensors import component_of

PROMPT = 200  # positions: a voice of the published checkpoint and a sentence
FRAMES = 2048  # the longest run (runtime.plan.PIECE_FRAMES), 164 s
# Python, numpy and onnxruntime (measured); CUDA's context with cuBLAS and cuDNN (assumed).
PROCESS = {"cpu": 150_000_000, "cuda": 700_000_000}
FLOAT = 4


@dataclass(frozen=True)
class Memory:
    """Bytes. The token table is not in it: it is mapped, and a few of its rows are read."""

    weights: int
    cache: int
    activations: int
    process: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.activations + self.process

    def to_dict(self) -> dict[str, int]:
        return asdict(self) | {"total": self.total}


def artifact_bytes(config: ModelConfig, recipe: Recipe) -> int:
    """Size of the bundle's graphs and tables."""
    return sum(stored_bytes(*row) for row in rules_by_tensor(config, recipe))


def memory(config: ModelConfig, recipe: Recipe, kind: str) -> Memory:
    """What the longest run needs on a "cpu" or "cuda" device."""
    weights = 0.0
    for name, shape, rule in rules_by_tensor(config, recipe):
        component = component_of(name)
        if component == "code_embeddings":
            weights += stored_bytes(name, shape, rule)
        elif component not in TABLES:
            weights += math.prod(shape) * resident(rule, kind)
    cache = cache_bytes(config, recipe.kv_cache) * (PROMPT + FRAMES)
    return Memory(round(weights), cache, _activations(config), PROCESS[kind])


def cache_bytes(config: ModelConfig, dtype: str) -> int:
    """Bytes of a KV cache of that dtype per position."""
    sizes = (
        math.prod(axis for axis in spec.shape if isinstance(axis, int))
        * np.dtype(spec.dtype).itemsize
        for spec in cache_specs(config, "past", dtype)
    )
    return sum(sizes)


def _activations(config: ModelConfig) -> int:
    """The largest layer of the prompt, and of a codec chunk."""
    backbone, codec = config.backbone, config.codec
    wide = 4 * backbone.dim + backbone.q_dim + 2 * backbone.kv_dim + 2 * backbone.hidden_dim
    narrow = 4 * codec.dim + 2 * codec.hidden_dim
    return FLOAT * (PROMPT * wide + CODEC_FRAMES * codec.upsampling * narrow)
