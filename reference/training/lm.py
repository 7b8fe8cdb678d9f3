"""Stage `lm`: backbone and flow head on the fixed codes.

Auxiliary losses, dropped after training, make it learn from hours instead of weeks of speech: attention
heads of two layers are told which text token is being spoken (the teacher's durations), and linear
probes on the hidden state predict the phoneme and the acoustic codes.

The flow head learns the expected acoustic values instead of their distribution. Independent draws per
frame have twice the error of the expectation, and the next frame hears them as its history. What is
expected depends on the semantic code that the same hidden state will choose, so the target is moved
there (`_expected`): the frame commits itself to one timing of the sounds instead of blurring several.
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
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.flow import FlowHead, quantize_latents
from flowvox.reference.layers import rope_table
from flowvox.reference.training.batches import AUDIO, Batch, Index, Sampler
from flowvox.reference.training.codes import CodeSpace
from flowvox.reference.training.dataset import Dataset
from flowvox.reference.training.fast import attend, embed_values, layer_rows, typed, velocity
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.script import script_utterances
from flowvox.reference.training.session import Session
from flowvox.tensors import FLOW

# Heads 0 and 1 of these layers follow the current and the next text token. Layer 2 can only match
# sounds with tokens (exact in 69 % of the frames of long sentences); layer 4 also knows, through
# layer 3, where layer 2 was looking before.
GUIDED_LAYERS = (2, 4)
CONDITION_DROPOUT = 0.1
OWN_FROM, OWN_SHARE = 0.2, 0.5  # when the model begins to hear itself, and in how many batches
OWN_AGAIN = 0.5  # share of these whose new history was itself predicted from own history
MOST_OWN = 0.8  # largest share of own history in a batch
SCRIPT_SHARE = 0.15  # of the batches: `script.py`
ACOUSTIC_LEVELS = 21
FLOW_SHARE = 0.35  # of the frames in a step: the head learns faster than the backbone
PHONEMES = 180
EVALUATE_EVERY = 250
MATRIX_LR = 5e-3  # Muon's
WEIGHTS = {"semantic": 0.5, "flow": 6.0, "attention": 0.6, "phoneme": 0.5, "probe": 6.0}


class LanguageModel(nn.Module):
    """Backbone, flow head and the probes. `importance` [36]: weights of the acoustic values."""

    def __init__(self, config: ModelConfig, importance: Tensor) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.flow = FlowHead(config)
        self.phoneme_probe = nn.Linear(config.backbone.dim, 2 * PHONEMES)
        self.code_probe = nn.Linear(config.backbone.dim, config.codec.acoustic_dim)
        self.importance: Tensor
        self.register_buffer("importance", importance, persistent=False)
        self.apply(self._initialize)
        for stack in (self.backbone.layers, self.flow.layers):
            for layer in typed(stack):
                for matrix in (layer.attention.wo, layer.feed_forward.w2):
                    nn.init.normal_(matrix.weight, std=0.02 / (2 * len(stack)) ** 0.5)
        self.commitment = nn.Embedding(config.semantic_rows, config.codec.acoustic_dim)
        for probe in (self.phoneme_probe, self.code_probe, self.commitment):
            nn.init.zeros_(probe.weight)  # no gradient into the backbone before they mean something

    @staticmethod
    def _initialize(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)

    def hidden(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(hidden states that predict each frame and END [M, dim], attention loss and hits)."""
        backbone, c = self.backbone, self.backbone.config
        x = torch.zeros(*batch.ids.shape, c.dim)
        x[batch.is_token] = backbone.embed_tokens(batch.ids[batch.is_token])
        x[batch.is_code] = embed_values(backbone, batch.values)
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
        length = x.shape[1]
        rope = rope_table(torch.arange(length), c.head_dim, c.rope_theta, dtype)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        guided = {"attention": torch.zeros(()), "hit": torch.zeros(())}
        *early, last = typed(backbone.layers)
        for i, layer in enumerate(early):
            context, scores = attend(layer.attention, layer.attention_norm(x), rope, future)
            if i in GUIDED_LAYERS:
                loss, hit = guidance(scores, (batch.attend, batch.attend_next))
                guided = {"attention": guided["attention"] + loss, "hit": hit}
            x = x + layer.attention.wo(context)
            x = x + layer.feed_forward(layer.ffn_norm(x))
        return backbone.norm(layer_rows(last, x, rope, future, batch.predicts)), guided

    @torch.no_grad()
    def own_history(self, batch: Batch) -> Batch:
        """The batch with a random share of its history replaced by what the model itself would say.

        Without this, free running meets errors that training never showed: words were half
        understood under teacher forcing and not at all when running freely.
        """
        hidden = self.hidden(batch)[0][~batch.is_end]
        history = torch.where(batch.ids[batch.is_code] != AUDIO)[0]
        chosen = torch.rand(len(history)) < torch.rand(()) * MOST_OWN
        history, hidden = history[chosen], hidden[chosen]
        semantic = self.flow.semantic_logits(hidden).argmax(-1)
        noise = torch.randn(len(hidden), batch.latents.shape[1])
        x = noise + velocity(self.flow, noise, torch.zeros(len(noise)), hidden).float()
        codes = quantize_latents(x, ACOUSTIC_LEVELS)
        values = batch.values.clone()
        values[history] = torch.cat([semantic[:, None], codes + SPECIAL_CODES], dim=1)
        return dataclasses.replace(batch, values=values)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Every term of the training loss."""
        hidden, guided = self.hidden(batch)
        logits = self.flow.semantic_codebook_output(hidden)[:, : self.flow.semantic_rows]
        frames, here = hidden[~batch.is_end], ~batch.is_end
        phonemes = self.phoneme_probe(frames).view(-1, PHONEMES)
        true, chosen = batch.semantic[here], logits[here].detach()[:, 2:].argmax(-1) + 2
        probe = self.code_probe(frames).float()
        shift = self.commitment(chosen) - self.commitment(true)
        expected = (probe + self.commitment(chosen)).detach().clamp(-1, 1)
        target = (batch.latents + shift).detach().clamp(-1, 1)
        return {
            "semantic": F.cross_entropy(logits.float(), batch.semantic),
            "flow": self._flow_loss(frames, expected, target),
            "attention": guided["attention"],
            "phoneme": F.cross_entropy(phonemes.float(), batch.phonemes.flatten()),
            "probe": self._distance(probe + self.commitment(true), batch.latents),
        }

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        return ((a - b).square() * self.importance).mean()

    def _flow_loss(self, hidden: Tensor, expected: Tensor, target: Tensor) -> Tensor:
        """Regression of `target` by x_t + (1 - t) v on paths from noise to `expected`.

        The paths know no more of the target than `hidden` does, so the best v leads to the mean of
        the target given `hidden`; all paths of one frame end there.
        """
        some = torch.rand(len(hidden)) < FLOW_SHARE
        hidden, expected, target = hidden[some], expected[some], target[some]
        keep = torch.rand(len(hidden), 1) >= CONDITION_DROPOUT
        times = torch.rand(len(target))
        x = torch.lerp(torch.randn_like(target), expected, times[:, None])
        reached = x + (1 - times[:, None]) * velocity(self.flow, x, times, hidden * keep)
        return self._distance(reached, target)


def guidance(scores: Tensor, targets: tuple[Index, Index]) -> tuple[Tensor, Tensor]:
    """Heads 0 and 1 of scores [B, heads, S, S]: (cross-entropy, share of head 0 that is right)."""
    total, hits = torch.zeros(()), []
    for head, (rows, columns, keys) in enumerate(targets):
        chosen = scores[rows, head, columns].float()
        total = total + F.cross_entropy(chosen, keys) / len(targets)
        hits.append((chosen.argmax(-1) == keys).float().mean())
    return total, hits[0].detach()


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
            "attention": guided["attention"],
            "hit": guided["hit"],
            "cross_entropy": F.cross_entropy(logits, batch.semantic),
        }
        for name, value in row.items():
            sums.setdefault(name, []).append(float(value))
    return {f"held_{name}": float(np.mean(values)) for name, values in sums.items()}


def started(work: Path, start: Path | None) -> LanguageModel:
    """A fresh model, or one with the weights of the checkpoint `start` (its probes are fresh)."""
    deviations = torch.from_numpy(CodeSpace.load(work / "codes.npz").scale).sqrt()
    importance = torch.cat([torch.ones(2), deviations / deviations.mean()])
    model = LanguageModel(ModelConfig.load(work / "params.json"), importance)
    if start:
        checkpoint = Checkpoint.open(start)
        for part, prefix in ((model.backbone, ""), (model.flow, FLOW)):
            names = {name: prefix + name for name in part.state_dict()}
            part.load_state_dict(
                {k: torch.from_numpy(checkpoint.read(v)) for k, v in names.items()}
            )
    return model


def train(
    work: Path, minutes: float, frames: int, lr: float, matrix_lr: float, start: Path | None
) -> None:
    """Train for `minutes`, about `frames` codec frames per step; resumes from `work`/lm."""
    torch.manual_seed(11)
    data, model = Dataset.load(work), started(work, start)
    optimizers = Optimizers(model, lr, matrix_lr)
    session = Session(work / "lm", model, optimizers, minutes, decay=0.997)
    sampler = Sampler(data, ModelConfig.load(work / "params.json"), frames, seed=session.number)
    general = sampler.training
    script = np.array([i for voice in range(2) for i in script_utterances(data, voice)])
    held = sampler.held_out_batches(4)
    while session.progress < 1:
        sampler.training = script if torch.rand(()) < SCRIPT_SHARE else general
        batch = sampler.batch(1.0 if start else session.progress)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if session.progress > OWN_FROM and torch.rand(()) < OWN_SHARE:
                batch = model.own_history(batch)
                if torch.rand(()) < OWN_AGAIN:
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
