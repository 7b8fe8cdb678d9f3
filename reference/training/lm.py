"""Stage `lm`: backbone and flow head on the fixed codes.

Two auxiliary losses, dropped after training, make it learn from hours instead of weeks of speech:
attention heads of one layer are told which text token is being spoken (the teacher's durations), and
linear probes on the hidden state predict the phoneme and the acoustic codes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import END_VALUE, SPECIAL_CODES, ModelConfig
from flowvox.reference.backbone import Backbone
from flowvox.reference.flow import FlowHead, quantize_latents, time_embedding
from flowvox.reference.layers import Attention, TransformerLayer, rope_table
from flowvox.reference.training.batches import AUDIO, Batch, Sampler
from flowvox.reference.training.dataset import Dataset
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.session import Session

# Heads 0 and 1 of these layers follow the current and the next text token. Layer 2 can only match
# sounds with tokens (exact in 69 % of the frames of long sentences); layer 4 also knows, through
# layer 3, where layer 2 was looking before.
GUIDED_LAYERS = (2, 4)
CONDITION_DROPOUT = 0.1
MOST_OWN, OWN_STEPS = 0.8, 3  # largest share of own history in a batch; its integration steps
OWN_FROM, OWN_SHARE = 0.5, 0.5  # when the model begins to hear itself, and in how many batches
ACOUSTIC_LEVELS = 21
FLOW_SHARE = (
    0.5  # of the frames in a step: the head learns faster than the backbone, and costs more
)
PHONEMES = 180
EVALUATE_EVERY = 250


def _typed(stack: nn.ModuleList) -> list[TransformerLayer]:
    return [layer for layer in stack if isinstance(layer, TransformerLayer)]


class LanguageModel(nn.Module):
    """Backbone, flow head and the probes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.flow_share = FLOW_SHARE
        self.backbone = Backbone(config)
        self.flow = FlowHead(config)
        self.phoneme_probe = nn.Linear(config.backbone.dim, 2 * PHONEMES)
        self.code_probe = nn.Linear(config.backbone.dim, config.codec.acoustic_dim)
        self.apply(self._initialize)
        for stack in (self.backbone.layers, self.flow.layers):
            for layer in _typed(stack):
                for matrix in (layer.attention.wo, layer.feed_forward.w2):
                    nn.init.normal_(matrix.weight, std=0.02 / (2 * len(stack)) ** 0.5)

    @staticmethod
    def _initialize(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)

    def hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(hidden states that predict each frame and END [M, dim], attention loss)."""
        backbone = self.backbone
        x = torch.zeros(*batch.ids.shape, backbone.config.dim)
        x[batch.is_token] = backbone.embed_tokens(batch.ids[batch.is_token])
        x[batch.is_code] = backbone.embed_values(batch.values)
        c = backbone.config
        rope = rope_table(torch.arange(x.shape[1]), c.head_dim, c.rope_theta, x.dtype)
        guided = torch.zeros(())
        for i, layer in enumerate(_typed(backbone.layers)):
            if i in GUIDED_LAYERS:
                normed = layer.attention_norm(x)
                guided = guided + self._attention_loss(layer.attention, normed, rope, batch)
            x = layer(x, rope)
        return backbone.norm(x[batch.predicts]), guided

    @torch.no_grad()
    def own_history(self, batch: Batch) -> Batch:
        """The batch with a random share of its history replaced by what the model itself would say.

        Without this, free running meets errors that training never showed: words were half
        understood under teacher forcing and not at all when running freely.
        """
        hidden, _ = self.hidden(batch)
        hidden = hidden[~batch.is_end]
        history = torch.where(batch.ids[batch.is_code] != AUDIO)[0]
        chosen = torch.rand(len(history)) < torch.rand(()) * MOST_OWN
        history, hidden = history[chosen], hidden[chosen]
        semantic = self.flow.semantic_logits(hidden).argmax(-1)
        x = torch.randn(len(hidden), batch.latents.shape[1])
        for step in range(OWN_STEPS):
            times = torch.full((len(x),), step / OWN_STEPS)
            x = x + fast_velocity(self.flow, x, times, hidden) / OWN_STEPS
        codes = quantize_latents(x, ACOUSTIC_LEVELS)
        values = batch.values.clone()
        values[history] = torch.cat([semantic[:, None], codes + SPECIAL_CODES], dim=1)
        return dataclasses.replace(batch, values=values)

    @staticmethod
    def _attention_loss(attention: Attention, x: Tensor, rope: Tensor, batch: Batch) -> Tensor:
        q, k, _ = attention.project(x, rope)
        scores = q[:, :2] @ k[:, :1].transpose(2, 3) / q.shape[-1] ** 0.5
        length = scores.shape[-1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        log = scores.masked_fill(future, -torch.inf).log_softmax(dim=-1)
        total = torch.zeros(())
        for head, targets in enumerate((batch.attend, batch.attend_next)):
            rows, columns, keys = targets
            total = total - log[rows, head, columns, keys].mean()
        return total / 2

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Every term of the training loss."""
        hidden, guided = self.hidden(batch)
        logits = self.flow.semantic_codebook_output(hidden)[:, : self.flow.semantic_rows]
        frames = hidden[~batch.is_end]
        phonemes = self.phoneme_probe(frames).view(-1, PHONEMES)
        return {
            "semantic": F.cross_entropy(logits, batch.semantic),
            "flow": self._flow_loss(frames, batch.latents),
            "attention": guided,
            "phoneme": F.cross_entropy(phonemes, batch.phonemes.flatten()),
            "probe": F.mse_loss(self.code_probe(frames), batch.latents),
        }

    def _flow_loss(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Flow matching on the straight path x_t = (1 - t) noise + t x: v = x - noise."""
        chosen = torch.rand(len(hidden)) < self.flow_share
        hidden, target = hidden[chosen], target[chosen]
        keep = torch.rand(len(hidden), 1) >= CONDITION_DROPOUT
        noise, times = torch.randn_like(target), torch.rand(len(target))
        x = torch.lerp(noise, target, times[:, None])
        velocity = fast_velocity(self.flow, x, times, hidden * keep)
        return F.mse_loss(velocity, target - noise)


def fast_velocity(flow: FlowHead, x: Tensor, times: Tensor, hidden: Tensor) -> Tensor:
    """`FlowHead.velocity` without the work on tokens 1 and 2 of the last layer, which nobody reads."""
    time_token = flow.time_projection(time_embedding(times, flow.config.dim))
    tokens = [flow.input_projection(x), time_token, flow.llm_projection(hidden)]
    y = torch.stack(tokens, dim=1)
    *early, last = _typed(flow.layers)
    for layer in early:
        y = layer(y)
    attention, normed = last.attention, last.attention_norm(y)
    q = attention.wq(normed[:, :1]).unflatten(-1, (attention.n_heads, -1)).transpose(1, 2)
    k, v = (
        matrix(normed).unflatten(-1, (attention.n_kv_heads, -1)).transpose(1, 2)
        for matrix in (attention.wk, attention.wv)
    )
    context = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    z = y[:, 0] + attention.wo(context.transpose(1, 2).flatten(2))[:, 0]
    z = z + last.feed_forward(last.ffn_norm(z))
    return flow.acoustic_codebook_output(flow.norm(z))


MATRIX_LR = 5e-3  # Muon's
WEIGHTS = {"semantic": 0.5, "flow": 1.0, "attention": 0.4, "phoneme": 0.3, "probe": 3.0}


@torch.no_grad()
def evaluate(model: LanguageModel, batches: list[Batch]) -> dict[str, float]:
    """Held-out, teacher-forced: semantic accuracy, END recall, normalized acoustic errors."""
    sums: dict[str, list[float]] = {}
    for batch in batches:
        hidden, guided = model.hidden(batch)
        logits = model.flow.semantic_logits(hidden)
        hit = logits.argmax(-1) == batch.semantic
        frames = hidden[~batch.is_end]
        torch.manual_seed(7)
        sample = model.flow.sample(frames, torch.randn_like(batch.latents)).clamp(-1, 1)
        variance = batch.latents.var(dim=0).sum()
        row = {
            "accuracy": hit[~batch.is_end].float().mean(),
            "end": hit[batch.is_end].float().mean(),
            "false_end": (logits[~batch.is_end].argmax(-1) == END_VALUE).float().mean(),
            "error": (sample - batch.latents).square().mean(0).sum() / variance,
            "probe": (model.code_probe(frames) - batch.latents).square().mean(0).sum() / variance,
            "attention": guided,
            "cross_entropy": F.cross_entropy(logits, batch.semantic),
        }
        for name, value in row.items():
            sums.setdefault(name, []).append(float(value))
    return {f"held_{name}": float(np.mean(values)) for name, values in sums.items()}


def train(work: Path, minutes: float, frames: int, lr: float) -> None:
    """Train for `minutes`, about `frames` codec frames per step; resumes from `work`/lm."""
    torch.manual_seed(11)
    config = ModelConfig.load(work / "params.json")
    data = Dataset.load(work)
    model = LanguageModel(config)
    session = Session(work / "lm", model, Optimizers(model, lr, MATRIX_LR), minutes, decay=0.998)
    sampler = Sampler(data, config, frames, seed=session.number)
    held = sampler.held_out_batches(4)
    while session.progress < 1:
        batch = sampler.batch(session.progress)
        if session.progress > OWN_FROM and torch.rand(()) < OWN_SHARE:
            batch = model.own_history(batch)
        terms = model.losses(batch)
        loss = torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
        if session.number % EVALUATE_EVERY == 0:
            current = {k: v.clone() for k, v in model.state_dict().items()}
            model.load_state_dict(session.average)
            session.log(**evaluate(model, held))
            model.load_state_dict(current)
    session.save()
