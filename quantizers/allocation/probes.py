"""Random projections of a model's outputs whose gradients say what an error in the weights does.

For a small change d of the weights the KL divergence of the semantic distribution p is, on average
over frames, E[(g . d)^2] / 2 with g the gradient of log p(y) for y drawn from p (Fisher information),
and the mean squared change of the latents is E[(g . d)^2] with g the gradient of their product with
standard normal numbers (Hutchinson's estimator). Sums over frames may be differentiated at once: the
draws of different frames are independent, so products between them vanish on average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from flowvox.config import EMPTY_VALUE
from flowvox.quantizers.kv_cache import cache_steps, pair_magnitudes

Generator = torch.Generator
CACHED = {"wk.weight": "key", "wv.weight": "value"}
ROUNDED = (16, 32, 64, 128, None)  # blocks of inputs that share a scale in some format


def semantic_probe(logits: Tensor, weights: Tensor, generator: Generator) -> Tensor:
    """logits: [N, rows], masked; weights: [N]. A scalar, for `kld = E[(gradient . change)^2] / 2`."""
    log = torch.log_softmax(logits[:, EMPTY_VALUE + 1 :], -1)
    drawn = torch.multinomial(log.detach().exp(), 1, generator=generator)
    share = (weights / weights.sum()).sqrt()
    return (log.gather(-1, drawn)[:, 0] * share).sum()


def latent_probe(latents: Tensor, levels: int, generator: Generator) -> Tensor:
    """latents: [M, n]. A scalar, for `mean squared error in levels = E[(gradient . change)^2]`."""
    normal = torch.randn(latents.shape, generator=generator)
    scaled = latents.clamp(-1, 1) * ((levels - 1) / 2)
    return (scaled * normal).sum() / latents.numel() ** 0.5


@dataclass
class Seen:
    """What a probe says of a matrix. gradient: [rows, columns], of the rows that are looked at.

    rounding: E[(g . d)^2] of rounding the inputs to 8 bits, by the block that shares a scale (None: a
    row). Each value moves by up to half a step either way, independently: a variance of step^2 / 12.
    cache: the same of its outputs in an 8-bit KV cache, where they are keys or values.
    """

    gradient: Tensor
    rounding: dict[int | None, float] = field(default_factory=dict)
    cache: float = 0.0


class Taps:
    """Watches the matrices of a module: what came in, and what flowed back.

    rows: how many of a matrix are looked at, evenly spaced, at most.
    """

    def __init__(self, rows: int) -> None:
        self._most = rows
        self.rows: dict[str, Tensor] = {}
        self._seen: dict[str, Seen] = {}

    @contextmanager
    def on(self, module: nn.Module, prefix: str) -> Iterator[None]:
        """Watch every Linear of `module`, whose parameters are called `prefix` + name."""
        handles = []
        for name, part in module.named_modules():
            if isinstance(part, nn.Linear):
                tensor = f"{prefix}{name}.weight"
                self.rows[tensor] = spaced(part.out_features, self._most)
                handles.append(part.register_forward_hook(self._watch(tensor)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def take(self) -> dict[str, Seen]:
        """By matrix what was seen since the last time, summed over all its products."""
        seen, self._seen = self._seen, {}
        return seen

    def _watch(self, tensor: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0].detach().flatten(0, -2)
            kept = _cache_steps(tensor, output)

            def back(gradient: Tensor) -> None:
                assert isinstance(module, nn.Linear)
                wide = gradient.flatten(0, -2)
                here = wide[:, self.rows[tensor]].T @ x
                entry = self._seen.setdefault(tensor, Seen(torch.zeros_like(here)))
                entry.gradient += here
                inputs = (wide @ module.weight).square()
                for block in ROUNDED:
                    cost = float((inputs * steps(x, block).square()).sum()) / 12
                    entry.rounding[block] = entry.rounding.get(block, 0.0) + cost
                if kept is not None:
                    entry.cache += float((wide * kept).square().sum()) / 12

            if not output.requires_grad:  # what came in does not depend on a leaf
                output.requires_grad_(True)
            output.register_hook(back)  # type: ignore[no-untyped-call]

        return hook


def _cache_steps(tensor: str, output: Tensor) -> Tensor | None:
    """Of each channel that a layer of the backbone keeps. RoPE turns pairs, and their step is one."""
    kind = CACHED.get(tensor.rpartition("attention.")[2]) if tensor.startswith("layers.") else None
    if kind is None:
        return None
    kept = output.detach().flatten(0, -2).numpy()
    magnitudes = pair_magnitudes(kept) if kind == "key" else np.abs(kept)
    return torch.from_numpy(cache_steps(magnitudes.max(axis=0)))


def steps(x: Tensor, block: int | None) -> Tensor:
    """The step of symmetric 8-bit levels for x [n, columns], one per block of columns or per row."""
    columns = x.shape[-1]
    wide = columns if block is None else block
    padded = nn.functional.pad(x, (0, -columns % wide)).reshape(len(x), -1, wide)
    scale = padded.abs().amax(-1, keepdim=True) / 127
    return scale.expand_as(padded).reshape(len(x), -1)[:, :columns]


def spaced(count: int, most: int) -> Tensor:
    """At most `most` whole numbers below `count`, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()
