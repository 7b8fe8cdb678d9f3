"""Muon for the matrices of the transformers, AdamW for the rest; one schedule for both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Quintic Newton-Schulz coefficients of Keller Jordan's Muon (2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalized(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Approximately U V^T of the singular value decompositions U S V^T of `matrices` [N, m, n].

    In bfloat16, as published: it was a third of a training step's time in float32.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(rounds):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized per matrix; the step is scaled to AdamW's usual RMS.

    Matrices of one shape are treated together.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": 0.95, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for shape, parameters in shapes.items():
                gradients = [p.grad for p in parameters if p.grad is not None]
                momenta = [
                    self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters
                ]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
                updates = orthogonalized(torch.stack(list(ahead)))
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                scale = group["lr"] * 0.2 * math.sqrt(max(shape))
                torch._foreach_add_(parameters, list(updates.unbind()), alpha=-scale)


class Optimizers:
    """Both optimizers with warm-up, then cosine decay over the share of the time budget used."""

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        matrix_lr: float | None = None,
        warmup: int = 200,
        *,
        muon: bool = True,
    ) -> None:
        """muon=False: AdamW for all, whose steps change no matrix as a whole."""
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                inside = muon and "layers." in name and parameter.ndim == 2
                (matrices if inside else others).append(parameter)
        self.warmup = warmup
        self.rates = [lr]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr, betas=(0.9, 0.98), weight_decay=0.0)
        ]
        if matrices:
            self.rates.insert(0, matrix_lr or lr)
            self.parts.insert(0, Muon(matrices, lr, weight_decay=0.05))

    def step(self, number: int, progress: float) -> None:
        """Apply the gradients; `progress` in [0, 1] is the share of the budget that is used."""
        share = min(1, (number + 1) / self.warmup)
        share *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, progress)))
        for part, rate in zip(self.parts, self.rates, strict=True):
            for group in part.param_groups:
                group["lr"] = rate * share
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
