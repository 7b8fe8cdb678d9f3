"""What a change of weights does to what the model says: the figures that are allocated against.

Two kinds of damage add up when they come from many small independent errors, because both are of second
order in them: the KL divergence of the semantic distribution, in nats per frame, and the mean squared
error of the acoustic latents, in squares of an FSQ level. (The share of changed FSQ codes grows like
the root of the latter and does not add up; neither does the change of the END margin. Both are
reported.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor

from flowvox.config import EMPTY_VALUE, END_VALUE


@dataclass(frozen=True)
class Damage:
    """Against the unquantized model, over the same history and noise.

    kld: nats per frame, END frames weighted as in calibration; latent: mean squared error of the
    acoustic latents within [-1, 1], in squares of a level; fsq: share of codes on another level;
    end_margin: root mean square change, in nats, of END's lead over the next value where END is due.
    """

    kld: float = 0.0
    latent: float = 0.0
    fsq: float = 0.0
    end_margin: float = 0.0

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, float]) -> Damage:
        return cls(**{field.name: float(data[field.name]) for field in fields(cls)})


def added(damages: Iterable[Damage]) -> Damage:
    """What independent errors do together: squares add up."""
    parts = list(damages)
    squares = (math.fsum(d.fsq**2 for d in parts), math.fsum(d.end_margin**2 for d in parts))
    return Damage(
        math.fsum(d.kld for d in parts),
        math.fsum(d.latent for d in parts),
        min(1.0, math.sqrt(squares[0])),
        math.sqrt(squares[1]),
    )


@dataclass(frozen=True)
class Yardstick:
    """Turns damage into one number: 1 is what the sum of all groups in plain 4-bit blocks does.

    Half of it for the semantic codes, half for the acoustic ones, each against what 4 bits do to them:
    a scale that needs no constant of a model, and in which nobody can trade all of one for the other.
    """

    kld: float
    latent: float

    def loss(self, damage: Damage) -> float:
        return 0.5 * (damage.kld / self.kld + damage.latent / self.latent)


@dataclass(frozen=True)
class Outputs:
    """logits: [N, rows], masked, every position that decides a frame; latents: [M, n]."""

    logits: Tensor
    latents: Tensor


@torch.inference_mode()
def compare(ours: Outputs, truth: Outputs, weights: Tensor, ends: Tensor, levels: int) -> Damage:
    """weights: [N], what a position counts; ends: [N], bool, where END is due; levels: of FSQ."""
    log, base = (
        torch.log_softmax(x.logits[:, EMPTY_VALUE + 1 :].double(), -1) for x in (ours, truth)
    )
    # Masked rows are -inf in both and contribute nothing.
    terms = torch.where(base.isfinite(), base.exp() * (base - log), torch.zeros_like(base))
    kld = float((terms.sum(-1) * weights).sum() / weights.sum())
    margins = _end_margin(log[ends]) - _end_margin(base[ends])
    half = (levels - 1) / 2
    scaled = [(x.latents.double().clamp(-1, 1) + 1) * half for x in (ours, truth)]
    changed = scaled[0].round() != scaled[1].round()
    return Damage(
        max(kld, 0.0),
        float((scaled[0] - scaled[1]).square().mean()),
        float(changed.double().mean()),
        float(margins.square().mean().sqrt()) if len(margins) else 0.0,
    )


def _end_margin(log: Tensor) -> Tensor:
    """How far END is ahead of the best other value, in nats: [n]."""
    end = END_VALUE - EMPTY_VALUE - 1
    others = log.clone()
    others[:, end] = -math.inf
    return log[:, end] - others.amax(-1)
