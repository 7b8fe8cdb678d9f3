"""Tensors that get the same format: those of a layer that share their inputs; heads; tables."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from flowvox.config import ModelConfig
from flowvox.recipe import TABLES
from flowvox.tensors import FLOW, checkpoint_tensors, component_of

LAYER_PARTS = {  # of a transformer layer, as patterns of a recipe
    "qkv": "attention.w[qkv].weight",
    "out": "attention.wo.weight",
    "gate+up": "feed_forward.w[13].weight",
    "down": "feed_forward.w2.weight",
}
FLOW_MATRICES = (
    "input_projection",
    "time_projection",
    "llm_projection",
    "semantic_codebook_output",
    "acoustic_codebook_output",
)


@dataclass(frozen=True)
class Group:
    """name: for people; pattern: what a rule says for these tensors; layer: of its stack, or None."""

    name: str
    component: str
    pattern: str
    tensors: tuple[str, ...]
    layer: int | None = None

    @property
    def is_table(self) -> bool:
        return self.component in TABLES

    @property
    def is_cache(self) -> bool:
        return self.component == CACHE


CACHE = "kv_cache"
KV_CACHE = Group("kv cache", CACHE, "*", ())  # no weights: activations that are kept


def all_groups(config: ModelConfig) -> list[Group]:
    """Every matrix that is allocated. The codec is not: its damage is of another kind (it is heard
    directly, not fed back), and it is a small part of the work."""
    names = list(checkpoint_tensors(config, encoder=False))

    def group(name: str, component: str, pattern: str, layer: int | None = None) -> Group:
        tensors = tuple(
            n for n in names if component_of(n) == component and fnmatchcase(n, pattern)
        )
        return Group(name, component, pattern, tensors, layer)

    groups = [group(table.replace("_", " "), table, tensor) for table, tensor in TABLES.items()]
    for component, prefix, count in (
        ("backbone", "", config.backbone.n_layers),
        ("flow", FLOW, config.flow.n_layers),
    ):
        groups += [
            group(f"{component} {i} {part}", component, f"{prefix}layers.{i}.{pattern}", i)
            for i in range(count)
            for part, pattern in LAYER_PARTS.items()
        ]
    return groups + [
        group(f"flow {name.replace('_', ' ')}", "flow", f"{FLOW}{name}.weight")
        for name in FLOW_MATRICES
    ]
