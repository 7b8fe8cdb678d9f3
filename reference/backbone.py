"""The autoregressive backbone: embeddings in, normed hidden states out (format B.2, B.3, B.7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowvox.config import ModelConfig
from flowvox.reference.layers import KVCache, RMSNorm, TransformerLayer, rope_table


class CodeEmbeddings(nn.Module):
    """One table for all codebooks; see `ModelConfig.code_offsets`."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(rows, dim)


class AudioEmbeddings(nn.Module):
    """The text-token table and the audio-code table, under the checkpoint's names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.backbone.dim
        self.tok_embeddings = nn.Embedding(config.backbone.vocab_size, dim)
        self.audio_codebook_embeddings = CodeEmbeddings(config.code_table_rows_padded, dim)


class Backbone(nn.Module):
    """Mistral-style decoder. The text head does not exist in TTS."""

    code_offsets: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config.backbone
        self.mm_audio_embeddings = AudioEmbeddings(config)
        layers = (TransformerLayer(config.backbone) for _ in range(config.backbone.n_layers))
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(config.backbone.dim, config.backbone.norm_eps)
        offsets = torch.tensor(config.code_offsets)
        self.register_buffer("code_offsets", offsets, persistent=False)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Token ids [...] -> rows [..., dim]."""
        return self.mm_audio_embeddings.tok_embeddings(ids)

    def embed_values(self, values: Tensor) -> Tensor:
        """Codebook values *with* the +2 offset, [..., 37] -> sum of their rows [..., dim]."""
        table = self.mm_audio_embeddings.audio_codebook_embeddings.embeddings
        return table(values + self.code_offsets).sum(dim=-2)

    def new_cache(self, max_positions: int, batch: int = 1) -> list[KVCache]:
        """An empty KV cache for each layer."""
        c = self.config
        shape = (batch, c.n_kv_heads, max_positions, c.head_dim)
        return [KVCache(shape, self.norm.weight.dtype) for _ in self.layers]

    def forward(self, embeddings: Tensor, cache: list[KVCache] | None = None) -> Tensor:
        """embeddings of S consecutive positions [B, S, dim] -> normed hidden states [B, S, dim]."""
        past = cache[0].length if cache else 0
        c = self.config
        positions = torch.arange(past, past + embeddings.shape[1], device=embeddings.device)
        rope = rope_table(positions, c.head_dim, c.rope_theta, embeddings.dtype)
        x = embeddings
        for i, layer in enumerate(self.layers):
            x = layer(x, rope, cache[i] if cache else None)
        return self.norm(x)
