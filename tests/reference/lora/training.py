"""A few steps of LoRA training on the torch reference: a voice prompt that speaks like another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tests.reference.lora.peft_files import write_adapter
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import END_VALUE, SPECIAL_CODES
from flowvox.reference.model import VoxtralTTS

RANK, ALPHA, LEARNING_RATE = 4, 8, 3e-3


@dataclass(frozen=True)
class Example:
    """prompt [P, dim]: a text in one voice; codes [F, 37]: how it should sound."""

    prompt: Tensor
    codes: np.ndarray


class LoraLinear(nn.Module):
    """W x + alpha / rank * B (A x), with B zero at the start (Hu et al. 2021)."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.randn(RANK, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + ALPHA / RANK * F.linear(F.linear(x, self.a), self.b)


def train(model: VoxtralTTS, examples: list[Example], steps: int, folder: Path) -> Path:
    """Adapters on every layer matrix of backbone and flow head, saved in PEFT's format."""
    torch.manual_seed(0)
    loras = dict(_wrapped(model))
    parameters = [p for lora in loras.values() for p in (lora.a, lora.b)]
    optimizer = torch.optim.Adam(parameters, LEARNING_RATE)
    levels = model.config.codec.acoustic_codebook_size
    for step in range(steps):
        example = examples[step % len(examples)]
        hidden = hidden_states(model, example)
        target = torch.from_numpy(example.codes[:, 1:]).float() * 2 / (levels - 1) - 1
        noise, times = torch.randn_like(target), torch.rand(len(target))
        velocity = model.flow.velocity(
            torch.lerp(noise, target, times[:, None]), times, hidden[:-1]
        )
        loss = semantic_loss(model.flow.semantic_codebook_output(hidden), example.codes)
        (loss + F.mse_loss(velocity, target - noise)).backward()
        optimizer.step()
        optimizer.zero_grad()
    matrices = {
        name: (lora.a.detach().numpy(), lora.b.detach().numpy()) for name, lora in loras.items()
    }
    return write_adapter(folder, matrices, r=RANK, lora_alpha=ALPHA)


def hidden_states(model: VoxtralTTS, example: Example) -> Tensor:
    """Teacher-forced, before each frame and after the last: [F + 1, dim]."""
    values = torch.from_numpy(example.codes).long() + SPECIAL_CODES
    sequence = torch.cat([example.prompt, model.backbone.embed_values(values)])
    return model.backbone(sequence[None])[0, len(example.prompt) - 1 :]


def semantic_loss(logits: Tensor, codes: np.ndarray) -> Tensor:
    """Cross-entropy in nats of logits [F + 1, rows] with the codes and END after them."""
    values = torch.from_numpy(codes[:, 0]).long() + SPECIAL_CODES
    return F.cross_entropy(logits, torch.cat([values, torch.tensor([END_VALUE])]))


def _wrapped(model: VoxtralTTS) -> Iterator[tuple[str, LoraLinear]]:
    """Put an adapter around each matrix; the names are those in the checkpoint."""
    names = {parameter: name for name, parameter in model.checkpoint_parameters().items()}
    for stack in (model.backbone.layers, model.flow.layers):
        for block in [m for layer in stack for m in (layer.attention, layer.feed_forward)]:
            for child, linear in list(block.named_children()):
                lora = LoraLinear(linear)
                setattr(block, child, lora)
                yield names[linear.weight].removesuffix(".weight"), lora
