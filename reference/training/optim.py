"""Muon for the matrices of the transformers, AdamW for the rest; or Adam at many paces."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Pace = float | Tensor

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


class PacedAdam(torch.optim.Optimizer):
    """Adam whose steps are, for every single weight, `pace` times as large.

    (A gradient that is scaled would change nothing: Adam divides by its size.)
    """

    def __init__(self, paced: Iterable[tuple[nn.Parameter, Pace]], lr: float) -> None:
        """Paces: a number, or one for each weight of the parameter."""
        groups = [{"params": [parameter], "pace": pace} for parameter, pace in paced]
        super().__init__(groups, {"lr": lr, "betas": (0.8, 0.99)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            (parameter,), (first, second) = group["params"], group["betas"]
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            number = state["number"] = state.get("number", 0) + 1
            mean = state.setdefault("mean", torch.zeros_like(parameter))
            square = state.setdefault("square", torch.zeros_like(parameter))
            mean.lerp_(parameter.grad, 1 - first)
            square.lerp_(parameter.grad.square(), 1 - second)
            size = (square / (1 - second**number)).sqrt() + 1e-8
            parameter -= group["lr"] / (1 - first**number) * group["pace"] * mean / size


class Optimizers:
    """Both optimizers with warm-up, then cosine decay over the share of the time budget used."""

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        matrix_lr: float | None = None,
        warmup: int = 200,
        *,
        paces: Mapping[str, Pace] | None = None,
    ) -> None:
        """paces: of the parameters that are trained, by name; then `PacedAdam` trains all of them."""
        self.warmup = warmup
        if paces is not None:
            self.rates = [lr]
            paced = [(model.get_parameter(name), pace) for name, pace in paces.items()]
            self.parts: list[torch.optim.Optimizer] = [PacedAdam(paced, lr)]
            return
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                inside = "layers." in name and parameter.ndim == 2
                (matrices if inside else others).append(parameter)
        self.rates = [lr]
        self.parts = [torch.optim.AdamW(others, lr, betas=(0.9, 0.98), weight_decay=0.0)]
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
