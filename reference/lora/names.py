"""Where an adapted module lies in the checkpoint, by the names that fine-tuners use.

* Mistral's: the tensor's own name without ".weight".
* those of `flowvox.reference.model.VoxtralTTS`: the same below backbone., flow. and codec.
* those of transformers' Mistral and Llama classes, for the backbone. Rotary embedding there turns the
  pairs (j, j + d/2) of a head of size d instead of (2j, 2j + 1), so that query and key rows stand in
  another order (`from_half_split`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvox.config import BackboneConfig
from flowvox.tensors import CODE_EMBEDDINGS, CODEC, FLOW, TOKEN_EMBEDDINGS, Shape

PARTS = {"backbone.": "", "flow.": FLOW, "codec.": CODEC}
TRANSFORMERS_LAYER = re.compile(
    r"(?:(?:model\.)?language_model\.)?(?:model\.)?layers\.(\d+)\.((?:self_attn|mlp)\.\w+)"
)
TRANSFORMERS = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}


@dataclass(frozen=True)
class Place:
    """tensor: its name; heads: how many, where the rows are those of half-split heads, else 0."""

    tensor: str
    heads: int = 0


def locate(module: str, shapes: dict[str, Shape], config: BackboneConfig) -> Place | None:
    """The matrix that a module multiplies by; None if this model has none of that name."""
    match = TRANSFORMERS_LAYER.fullmatch(module)
    if match and match[2] in TRANSFORMERS:
        name = TRANSFORMERS[match[2]]
        rotated = {"attention.wq": config.n_heads, "attention.wk": config.n_kv_heads}
        place = Place(f"layers.{match[1]}.{name}.weight", rotated.get(name, 0))
    else:
        part = next((part for part in PARTS if module.startswith(part)), "")
        place = Place(f"{PARTS.get(part, '')}{module.removeprefix(part)}.weight")
    is_table = place.tensor in (TOKEN_EMBEDDINGS, CODE_EMBEDDINGS)
    return place if len(shapes.get(place.tensor, ())) == 2 and not is_table else None


def from_half_split(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """[heads * d, n]: row j + s * d/2 of each head becomes row 2j + s, for s in (0, 1)."""
    split = rows.reshape(heads, 2, -1, rows.shape[-1])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(rows.shape)
