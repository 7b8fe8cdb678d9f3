"""Backbone and flow head with what they learn from: the terms of the loss, and the probes.

Auxiliary losses, dropped after training, make it learn from hours instead of weeks of speech: attention
heads of two layers are told which text token is being spoken (the teacher's durations), and linear
probes on the hidden state predict phonemes and acoustic codes.

The flow head learns the distribution of the acoustic values, drawn together towards its mean
(`Settings.spread`): a small model's own draws are its history, and the published noise has no
temperature to turn down. What the mean is depends on the semantic code that the same hidden state will
choose, so the target is moved there: the frame commits itself to one timing of the sounds.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import SPECIAL_CODES, ModelConfig
from flowvox.reference.backbone import Backbone
from flowvox.reference.flow import FlowHead, quantize_latents
from flowvox.reference.layers import rope_table
from flowvox.reference.training.batches import Batch
from flowvox.reference.training.fast import (
    causal,
    embed_values,
    feed_forward,
    guided_scores,
    normed,
    projected,
    typed,
    velocity,
)
from flowvox.reference.training.semantics import PHONEMES

# Heads 0 and 1 of these layers follow the current and the next text token. The first can only match
# sounds with tokens; the second also knows where the first was looking before.
GUIDED_LAYERS = (2, 5)
CONDITION_DROPOUT = 0.1
MOST_OWN = 0.8  # largest share of own history in a batch
ACOUSTIC_LEVELS = 21


@dataclass(frozen=True)
class Settings:
    """What differs between the two stages.

    spread: of the acoustic values around their mean; flow_frames: share of the frames whose flow is
    learned in a step; own_from, own_share: when the model begins to hear itself, and in how many
    batches; own_steps: Euler steps of that history; voice: shortest and longest prompt, in frames.
    """

    lr: float
    matrix_lr: float
    warmup: int
    decay: float
    spread: float
    flow_frames: float
    own_from: float
    own_share: float
    own_steps: int
    voice: tuple[int, int]


class Expectation(nn.Module):
    """Acoustic values [M, 36] to be expected after a hidden state [M, dim] and a semantic code [M].

    A linear map, a shift by code, and a feed-forward that sees both. The flow head's target is drawn
    towards it: it has to be about as good as what the flow head itself can learn, or it blurs that.
    """

    WIDTH = 768

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, codes, values = config.backbone.dim, config.semantic_rows, config.codec.acoustic_dim
        self.linear = nn.Linear(dim, values)
        self.shift = nn.Embedding(codes, values)
        self.up = nn.Linear(dim, self.WIDTH)
        self.up_code = nn.Embedding(codes, self.WIDTH)
        self.down = nn.Linear(self.WIDTH, values, bias=False)

    def begin_at_zero(self) -> None:
        """No output but the bias, so no gradient into what it reads, before it has learned."""
        for last in (self.linear, self.shift, self.down):
            nn.init.zeros_(last.weight)

    def forward(self, hidden: Tensor, code: Tensor) -> Tensor:
        inner = F.silu(self.up(hidden) + self.up_code(code))
        return (self.linear(hidden) + self.shift(code) + self.down(inner)).float()


class LanguageModel(nn.Module):
    """Backbone, flow head and the probes. `importance` [36]: weights of the acoustic values."""

    def __init__(
        self, config: ModelConfig, settings: Settings, importance: Tensor | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.importance: Tensor
        if importance is None:
            importance = torch.ones(config.codec.acoustic_dim)
        self.register_buffer("importance", importance, persistent=False)
        self.backbone = Backbone(config)
        self.flow = FlowHead(config)
        self.phoneme_probe = nn.Linear(config.backbone.dim, 2 * PHONEMES)
        self.expectation = Expectation(config)
        self.apply(self._initialize)
        for stack in (self.backbone.layers, self.flow.layers):
            for layer in typed(stack):
                for matrix in (layer.attention.wo, layer.feed_forward.w2):
                    nn.init.normal_(matrix.weight, std=0.02 / (2 * len(stack)) ** 0.5)
        nn.init.zeros_(self.phoneme_probe.weight)  # no gradient before it means something
        self.expectation.begin_at_zero()

    @staticmethod
    def _initialize(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)

    def hidden(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(hidden states that predict each frame and END [M + B, dim], attention loss and hits)."""
        backbone, c = self.backbone, self.backbone.config
        x = torch.zeros(*batch.ids.shape, c.dim, device=batch.ids.device)
        x[batch.is_token] = backbone.embed_tokens(batch.ids[batch.is_token])
        x[batch.is_code] = embed_values(backbone, batch.values)
        positions = torch.arange(x.shape[1], device=x.device)
        half = torch.is_autocast_enabled(x.device.type)
        dtype = torch.bfloat16 if half else x.dtype
        table = rope_table(positions, c.head_dim, c.rope_theta, dtype)
        rope = (table[..., 0], table[..., 1])
        losses, hit = [], x.new_zeros(())
        for i, layer in enumerate(typed(backbone.layers)):
            q, k, v = projected(layer.attention, normed(layer.attention_norm, x), rope)
            context = causal(q, k, v)
            if i in GUIDED_LAYERS:
                loss, hit = guidance(q, k, batch)
                losses.append(loss)
            x = x + layer.attention.wo(context.transpose(1, 2).flatten(2))
            x = feed_forward(layer, x)
        return normed(backbone.norm, x[batch.predicts]), {
            "attention": torch.stack(losses).sum(), "hit": hit
        }  # fmt: skip

    @torch.no_grad()
    def own_history(self, batch: Batch) -> Batch:
        """The batch with a random share of its history replaced by what the model itself would say.

        Without this, free running meets errors that training never showed.
        """
        device = batch.ids.device
        hidden = self.hidden(batch)[0][~batch.is_end]
        history = batch.is_history.nonzero().squeeze(1)
        chosen = torch.rand(len(history), device=device) < torch.rand((), device=device) * MOST_OWN
        history, hidden = history[chosen], hidden[chosen]
        if len(history) == 0:
            return batch
        semantic = self.flow.semantic_logits(hidden).argmax(-1)
        x = torch.randn(len(hidden), batch.latents.shape[1], device=device)
        steps = self.settings.own_steps
        for i in range(steps):
            times = torch.full((len(x),), i / steps, device=device)
            x = x + velocity(self.flow, x, times, hidden).float() / steps
        values = batch.values.clone()
        codes = quantize_latents(x, ACOUSTIC_LEVELS)
        values[history] = torch.cat([semantic[:, None], codes + SPECIAL_CODES], dim=1)
        return dataclasses.replace(batch, values=values)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Every term of the training loss."""
        hidden, guided = self.hidden(batch)
        logits = self.flow.semantic_codebook_output(hidden)[:, : self.flow.semantic_rows]
        frames, here = hidden[~batch.is_end], ~batch.is_end
        phonemes = self.phoneme_probe(frames).view(-1, PHONEMES)
        true, chosen = batch.semantic[here], logits[here].detach()[:, 2:].argmax(-1) + 2
        expected, mean = self.expectation(frames, true), self.expectation(frames, chosen).detach()
        moved = batch.latents + mean - expected.detach()
        target = torch.lerp(mean, moved, self.settings.spread).clamp(-1, 1)
        return {
            "semantic": F.cross_entropy(logits.float(), batch.semantic),
            "flow": self._flow_loss(frames, target),
            "attention": guided["attention"],
            "phoneme": F.cross_entropy(phonemes.float(), batch.phonemes.flatten()),
            "probe": self.distance(expected, batch.latents),
        }

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean squared error of acoustic values [M, 36], by `importance`."""
        return ((a - b).square() * self.importance).mean()

    def _flow_loss(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Conditional flow matching (Lipman et al. 2023) on straight paths from noise to `target`."""
        count = int(self.settings.flow_frames * len(hidden))
        some = torch.arange(count, device=hidden.device) % len(hidden)
        if count < len(hidden):
            some = torch.randperm(len(hidden), device=hidden.device)[:count]
        hidden, target = hidden[some], target[some]
        keep = torch.rand(len(hidden), 1, device=hidden.device) >= CONDITION_DROPOUT
        times = torch.rand(len(target), device=hidden.device)
        noise = torch.randn_like(target)
        x = torch.lerp(noise, target, times[:, None])
        flow = velocity(self.flow, x, times, hidden * keep).float()
        return self.distance(flow, target - noise)


def guidance(q: Tensor, k: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Heads 0 and 1 of q, k [B, heads, S, head_dim]: (cross-entropy, share of head 0 that is right)."""
    total, hit = q.new_zeros((), dtype=torch.float32), q.new_zeros(())
    known = batch.key >= 0
    row, position = batch.row[known], batch.position[known]
    for head, keys in enumerate((batch.key[known], batch.next_key[known])):
        scores = guided_scores(q[:, head], k[:, head], row, position)
        total = total + F.cross_entropy(scores, keys) / 2
        if head == 0:
            hit = (scores.argmax(-1) == keys).float().mean().detach()
    return total, hit
