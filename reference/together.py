"""Several utterances spoken at once by a streamed backbone: weights are read once per frame for all.

Prompts of different lengths are padded at their end. A padded position is written to the cache before
the first frame, and overwritten by a frame before anything may look at it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from flowvox.config import END_VALUE, SPECIAL_CODES
from flowvox.reference.flow import quantize_latents
from flowvox.reference.generate import Generation
from flowvox.reference.layers import TransformerLayer, rope_table
from flowvox.reference.model import VoxtralTTS
from flowvox.reference.streamed import StreamedLayer


@torch.inference_mode()
def generate_together(model: VoxtralTTS, prompts: list[Tensor], noise: Tensor) -> list[Generation]:
    """What `generate` says to each of the prompts [P, dim] with its noise: [utterances, frames, 36].

    model: of `streamed_model`, its flow head loaded.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    cache = _Cache(model, len(prompts), int(lengths.max()) + noise.shape[1])
    everyone = torch.arange(len(prompts))
    padded = pad_sequence(prompts, batch_first=True)
    places = torch.arange(padded.shape[1]).expand(len(prompts), -1)
    hidden = cache.advance(padded, places)[everyone, lengths - 1]
    frames: list[Tensor] = []
    spoken = torch.full((len(prompts),), noise.shape[1])
    for t in range(noise.shape[1]):
        value = model.flow.semantic_logits(hidden).argmax(dim=-1)
        spoken = torch.where((value == END_VALUE) & (spoken > t), t, spoken)
        if int(spoken.max()) <= t:
            break
        latents = model.flow.sample(hidden, noise[:, t])
        codes = quantize_latents(latents, model.config.codec.acoustic_codebook_size)
        values = torch.cat([value[:, None], codes + SPECIAL_CODES], dim=-1)
        frames.append(values - SPECIAL_CODES)
        embedded = model.backbone.embed_values(values)[:, None]
        hidden = cache.advance(embedded, (lengths + t)[:, None])[:, 0]
    silent = torch.zeros(len(prompts), 0, model.config.n_codebooks)
    every = torch.stack(frames, dim=1) if frames else silent
    return [
        Generation(codes[:count].int().numpy(), ended=count < noise.shape[1])
        for codes, count in zip(every, spoken.tolist(), strict=True)
    ]


class _Cache:
    """Keys and values of all layers, [utterances, kv_heads, room, head_dim]."""

    def __init__(self, model: VoxtralTTS, utterances: int, room: int) -> None:
        self._backbone, c = model.backbone, model.config.backbone
        shape = (utterances, c.n_kv_heads, room, c.head_dim)
        self._layers = [(torch.zeros(shape), torch.zeros(shape)) for _ in model.backbone.layers]

    def advance(self, x: Tensor, places: Tensor) -> Tensor:
        """New positions x [utterances, S, dim] at places [utterances, S] -> hidden states."""
        c = self._backbone.config
        table = rope_table(
            torch.arange(self._layers[0][0].shape[2]), c.head_dim, c.rope_theta, x.dtype
        )
        rope = table[places][:, None]
        visible = torch.arange(len(table)) <= places[:, None, :, None]
        for streamed, (keys, values) in zip(self._backbone.layers, self._layers, strict=True):
            assert isinstance(streamed, StreamedLayer)
            x = _layer(streamed.load(), x, rope, keys, values, places, visible)
        return self._backbone.norm(x)


def _layer(
    layer: TransformerLayer,
    x: Tensor,
    rope: Tensor,
    keys: Tensor,
    values: Tensor,
    places: Tensor,
    visible: Tensor,
) -> Tensor:
    """`TransformerLayer.forward` with positions of each utterance's own."""
    q, k, v = layer.attention.project(layer.attention_norm(x), rope)
    everyone = torch.arange(len(x))[:, None]
    keys[everyone, :, places] = k.transpose(1, 2)
    values[everyone, :, places] = v.transpose(1, 2)
    context = F.scaled_dot_product_attention(q, keys, values, attn_mask=visible, enable_gqa=True)
    x = x + layer.attention.wo(context.transpose(1, 2).flatten(2))
    return x + layer.feed_forward(layer.ffn_norm(x))
