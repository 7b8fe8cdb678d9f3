"""Where activations are looked at: the inputs of matrices, one site for all that share theirs."""

from __future__ import annotations

from dataclasses import dataclass

from flowvox.config import ModelConfig
from flowvox.tensors import FLOW


@dataclass(frozen=True)
class Site:
    """name: of its file; tensors: the matrices that are multiplied with the same inputs.

    first_only: of the flow head's three tokens only the first counts, because nothing reads what the
    last layer makes of the others.
    """

    name: str
    tensors: tuple[str, ...]
    first_only: bool = False


def backbone_layer_sites(index: int) -> list[Site]:
    """Those of one decoder layer."""
    return _layer_sites(f"layers.{index}.")


def flow_sites(config: ModelConfig) -> list[Site]:
    """All of the flow head. The semantic head and llm_projection both read the hidden states."""
    layers = config.flow.n_layers
    sites = [
        Site(f"{FLOW}{name}", (f"{FLOW}{name}.weight",))
        for name in ("semantic_codebook_output", "input_projection", "time_projection",
                     "llm_projection", "acoustic_codebook_output")
    ]  # fmt: skip
    for index in range(layers):
        sites += _layer_sites(f"{FLOW}layers.{index}.", read_once=index + 1 == layers)
    return sites


def all_sites(config: ModelConfig) -> list[Site]:
    """Every site of the model."""
    layers = range(config.backbone.n_layers)
    backbone = [site for index in layers for site in backbone_layer_sites(index)]
    return backbone + flow_sites(config)


def _layer_sites(layer: str, *, read_once: bool = False) -> list[Site]:
    """read_once: the last layer of the flow head, whose queries are those of its first token."""

    def site(name: str, *matrices: str, first_only: bool = read_once) -> Site:
        tensors = tuple(f"{layer}{matrix}.weight" for matrix in matrices)
        return Site(layer + name, tensors, first_only)

    attention = ["attention.wq", "attention.wk", "attention.wv"]
    if read_once:
        inputs = [
            site("attention.query", attention[0]),
            site("attention.input", *attention[1:], first_only=False),
        ]
    else:
        inputs = [site("attention.input", *attention)]
    return [
        *inputs,
        site("attention.output", "attention.wo"),
        site("feed_forward.input", "feed_forward.w1", "feed_forward.w3"),
        site("feed_forward.output", "feed_forward.w2"),
    ]
