"""The reference in bounded memory: a backbone whose weights are read when they are used.

One layer of the 4B shape is 0.47 GB in float32, the whole backbone 12 GB. The code that computes is
that of `Backbone`; only where its layers and its embedding rows come from differs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from flowvox.config import TransformerConfig
from flowvox.reference.layers import KVCache, TransformerLayer
from flowvox.reference.model import VoxtralTTS
from flowvox.source import ModelSource
from flowvox.tensors import CODE_EMBEDDINGS, TOKEN_EMBEDDINGS

Loaded = Callable[[int], None]


def load_part(module: nn.Module, prefix: str, checkpoint: ModelSource) -> int:
    """Give `module` its weights in float32, wherever they were before; returns bytes read."""
    names = [name for name, _ in module.named_parameters()]
    weights = {name: torch.from_numpy(checkpoint.read(prefix + name)) for name in names}
    module.load_state_dict(weights, assign=True)
    return sum(checkpoint.stored_bytes(prefix + name) for name in names)


class StreamedLayer(nn.Module):
    """A backbone layer that holds its weights only while it computes."""

    def __init__(
        self, checkpoint: ModelSource, config: TransformerConfig, prefix: str, loaded: Loaded
    ) -> None:
        super().__init__()
        self._checkpoint, self._config, self._prefix = checkpoint, config, prefix
        self._loaded = loaded

    def load(self) -> TransformerLayer:
        """The layer with its weights, for as long as the caller holds it."""
        with torch.device("meta"):
            layer = TransformerLayer(self._config)
        self._loaded(load_part(layer, self._prefix, self._checkpoint))
        return layer.requires_grad_(False)

    def forward(
        self, x: Tensor, rope: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        y: Tensor = self.load()(x, rope, cache)
        return y


class StreamedRows(nn.Module):
    """An embedding table that stays in its file."""

    def __init__(self, checkpoint: ModelSource, name: str) -> None:
        super().__init__()
        self._checkpoint, self._name = checkpoint, name

    def forward(self, ids: Tensor) -> Tensor:
        """Row numbers [...] -> rows [..., dim]."""
        different, places = torch.unique(ids, return_inverse=True)
        rows = [self._checkpoint.read_rows(self._name, i, i + 1) for i in different.tolist()]
        return torch.from_numpy(np.concatenate(rows))[places]


def streamed_model(checkpoint: ModelSource, loaded: Loaded = lambda size: None) -> VoxtralTTS:
    """The model with a backbone that streams; flow head and codec wait on "meta" for `load_part`.

    `loaded` is told the bytes of every layer that was read. Reading raises CheckpointError.
    """
    config = checkpoint.config
    with torch.device("meta"):
        model = VoxtralTTS(config, encoder=checkpoint.has_encoder)
    backbone = model.backbone
    tables = backbone.mm_audio_embeddings
    tables.register_module("tok_embeddings", StreamedRows(checkpoint, TOKEN_EMBEDDINGS))
    codes = tables.audio_codebook_embeddings
    codes.register_module("embeddings", StreamedRows(checkpoint, CODE_EMBEDDINGS))
    backbone.layers = nn.ModuleList(
        StreamedLayer(checkpoint, config.backbone, f"layers.{i}.", loaded)
        for i in range(config.backbone.n_layers)
    )
    backbone.code_offsets = torch.tensor(config.code_offsets)
    load_part(backbone.norm, "norm.", checkpoint)
    return model.eval().requires_grad_(False)
