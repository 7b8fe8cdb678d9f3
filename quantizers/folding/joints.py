"""Where the inputs of matrices can be scaled, because a neighbour can take the scale back.

    attention.wq wk wv   <- attention_norm        ffn_norm -> feed_forward.w1 w3
    attention.wo         <- rows of wv            attention is linear in the values
    feed_forward.w2      <- rows of w3            silu(w1 x) * (w3 x) is linear in w3 x

Query heads that share a key-value head read the same values, so their columns of wo share their scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowvox.config import ModelConfig, TransformerConfig
from flowvox.quantizers.blocks import Floats
from flowvox.tensors import FLOW


@dataclass(frozen=True)
class Joint:
    """takers: matrices whose columns are multiplied; giver: the vector or the rows that are divided.

    Columns come as [kv_heads, sharing, head_dim] with one scale for all that share; sharing is 1 where
    every column has its own.
    """

    takers: tuple[str, ...]
    giver: str
    kv_heads: int = 1
    sharing: int = 1

    def shared(self, values: Floats) -> Floats:
        """The mean of [columns] over those that share: [columns / sharing]."""
        return values.reshape(self.kv_heads, self.sharing, -1).mean(axis=1).reshape(-1)

    def spread(self, scales: Floats) -> Floats:
        """One scale per column from `shared` ones."""
        heads = scales.reshape(self.kv_heads, 1, -1)
        return np.repeat(heads, self.sharing, axis=1).reshape(-1)


def joints(config: ModelConfig) -> list[Joint]:
    """All of backbone and flow head."""
    found = []
    for prefix, part in (("", config.backbone), (FLOW, config.flow)):
        for index in range(part.n_layers):
            found += _layer_joints(f"{prefix}layers.{index}.", part)
    return found


def _layer_joints(layer: str, config: TransformerConfig) -> list[Joint]:
    def names(*matrices: str) -> tuple[str, ...]:
        return tuple(f"{layer}{matrix}.weight" for matrix in matrices)

    heads, sharing = config.n_kv_heads, config.n_heads // config.n_kv_heads
    wq, wk, wv, wo = names("attention.wq", "attention.wk", "attention.wv", "attention.wo")
    w1, w2, w3 = names("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
    return [
        Joint((wq, wk, wv), f"{layer}attention_norm.weight"),
        Joint((wo,), wv, heads, sharing),
        Joint((w1, w3), f"{layer}ffn_norm.weight"),
        Joint((w2,), w3),
    ]
