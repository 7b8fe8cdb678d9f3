"""Damage, measured: some tensors quantized in the reference, teacher-forced on its own speech.

What the unquantized model computes is kept: the input of every backbone layer, the hidden states,
logits and latents. A change in layer k computes from layer k on; one in the flow head leaves the
backbone alone. All utterances go through a layer as one batch, padded at their ends, which a causal
model never sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowvox.config import SPECIAL_CODES
from flowvox.noise import frame_noise
from flowvox.quantizers.allocation.candidates import input_block, rounds_inputs
from flowvox.quantizers.allocation.damage import Damage, Outputs, compare
from flowvox.quantizers.allocation.groups import Group
from flowvox.quantizers.allocation.probes import steps
from flowvox.quantizers.calibration.record import END_WEIGHT
from flowvox.quantizers.calibration.speech import Spoken
from flowvox.quantizers.kv_cache import TOP, cache_steps, pair_magnitudes
from flowvox.recipe import Rule
from flowvox.reference.layers import TransformerLayer, rope_table
from flowvox.reference.model import VoxtralTTS
from flowvox.reference.speak import embed_prompt
from flowvox.source import ModelSource

FLOW_FRAMES = 160  # whose latents are compared; each makes 42 rows per flow layer
Project = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
Rounding = Callable[[Tensor], Tensor]
Hook = Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]
SEMANTIC_HEAD = "flow semantic codebook output"


@dataclass(frozen=True)
class Change:
    """A group with other weights: float32 by tensor; the rule says how activations are rounded.

    inputs: how they are rounded instead, by tensor; those of the other tensors are left alone then.
    """

    group: Group
    rule: Rule
    weights: Mapping[str, Tensor]
    inputs: Mapping[str, Rounding] | None = None


class Measurer:
    """Holds the model and what it said; `damage` measures changes to it."""

    @torch.inference_mode()
    def __init__(self, model: VoxtralTTS, source: ModelSource, spoken: Sequence[Spoken]) -> None:
        self._model, self._source, self._spoken = model, source, spoken
        self._prompts = [
            len(embed_prompt(model, source, s.line.text, s.line.voice)) for s in spoken
        ]
        states = [self._embeddings()]
        first = self._prompts[0] + len(spoken[0].codes)
        self._cache_steps: list[tuple[Tensor, Tensor]] = []
        for layer in model.backbone.layers:
            self._cache_steps.append(_cache_steps(layer, states[-1][:1, :first]))
            states.append(layer(states[-1], self._rope(states[0])))
        self._states = states
        self._hidden = self._decisive(states[-1])
        weights: list[Tensor] = []
        ends, frames, noise, start = [], [], [], 0
        for one in spoken:
            count = len(one.codes) + 1
            weights.append(torch.ones(count))
            weights[-1][-1] = END_WEIGHT if one.ended else 1.0
            ends.append(torch.arange(count) == (count - 1 if one.ended else count))
            made = count - one.ended
            frames.append(torch.arange(start, start + made))
            noise.append(frame_noise(one.line.seed, made, model.config.codec.acoustic_dim))
            start += count
        self._weights, self._ends = torch.cat(weights), torch.cat(ends)
        every = torch.cat(frames)
        step = -(-len(every) // FLOW_FRAMES)
        self._frames = every[::step]
        self._noise = torch.cat([torch.from_numpy(rows) for rows in noise])[::step]
        self._truth = self._outputs(self._hidden, None)

    def damage(self, changes: Sequence[Change]) -> Damage:
        """All changes together."""
        with (
            torch.inference_mode(),
            changed(self._model, changes),
            small_cache(self._model, changes, self._cache_steps),
        ):
            hidden = self._hidden
            components = {change.group.component for change in changes}
            if components - {"flow"}:
                hidden = self._decisive(self._backbone(changes))
            only_head = {change.group.name for change in changes} == {SEMANTIC_HEAD}
            ours = self._outputs(hidden, self._truth if only_head else None)
        levels = self._model.config.codec.acoustic_codebook_size
        return compare(ours, self._truth, self._weights, self._ends, levels)

    def _backbone(self, changes: Sequence[Change]) -> Tensor:
        """From the first layer that changed."""
        tables = any(change.group.is_table for change in changes)
        cache = any(change.group.is_cache for change in changes)
        layers = [c.group.layer for c in changes if c.group.component == "backbone"]
        first = 0 if tables or cache else min(index for index in layers if index is not None)
        x = self._embeddings() if tables else self._states[first]
        rope = self._rope(x)
        for layer in self._model.backbone.layers[first:]:
            x = layer(x, rope)
        return x

    def _outputs(self, hidden: Tensor, latents_of: Outputs | None) -> Outputs:
        flow = self._model.flow
        logits = flow.semantic_logits(hidden)
        if latents_of is not None:
            return Outputs(logits, latents_of.latents)
        return Outputs(logits, flow.sample(hidden[self._frames], self._noise))

    def _embeddings(self) -> Tensor:
        """Prompts and codes of all utterances, [B, S, dim], padded with zeros."""
        model, rows = self._model, []
        for one in self._spoken:
            prompt = embed_prompt(model, self._source, one.line.text, one.line.voice)
            values = torch.from_numpy(one.codes).long() + SPECIAL_CODES
            rows.append(torch.cat([prompt, model.backbone.embed_values(values)]))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def _decisive(self, states: Tensor) -> Tensor:
        """Normed states before each frame and after the last: [N, dim]."""
        parts = [
            states[i, start - 1 : start + len(one.codes)]
            for i, (start, one) in enumerate(zip(self._prompts, self._spoken, strict=True))
        ]
        normed: Tensor = self._model.backbone.norm(torch.cat(parts))
        return normed

    def _rope(self, x: Tensor) -> Tensor:
        c = self._model.backbone.config
        return rope_table(torch.arange(x.shape[1]), c.head_dim, c.rope_theta, x.dtype)


@contextmanager
def changed(model: VoxtralTTS, changes: Sequence[Change]) -> Iterator[None]:
    """The model with other weights, and activations rounded as the kernels of the formats do."""
    parameters = model.checkpoint_parameters()
    kept: dict[str, Tensor] = {}
    handles = []
    modules = {
        parameter: module for module in model.modules() for parameter in module.parameters(False)
    }
    try:
        for change in changes:
            for name, weights in change.weights.items():
                parameter = parameters[name]
                kept[name], parameter.data = parameter.data, weights
                if (rounding := _rounding(change, name)) is not None:
                    hook = _hook(rounding)
                    handles.append(modules[parameter].register_forward_pre_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for name, weights in kept.items():
            parameters[name].data = weights


@contextmanager
def small_cache(
    model: VoxtralTTS, changes: Sequence[Change], steps_by_layer: Sequence[tuple[Tensor, Tensor]]
) -> Iterator[None]:
    """Keys and values as an 8-bit KV cache holds them, if the changes ask for one."""
    if not any(change.group.is_cache for change in changes):
        yield
        return
    attentions: list[Any] = [layer.attention for layer in model.backbone.layers]
    for attention, (key, value) in zip(attentions, steps_by_layer, strict=True):
        attention.project = _kept(attention.project, key, value)
    try:
        yield
    finally:
        for attention in attentions:
            del attention.project  # the class's own is seen again


def _kept(project: Project, key: Tensor, value: Tensor) -> Project:
    def kept(x: Tensor, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = project(x, rope)
        return q, _in_steps(k, key), _in_steps(v, value)

    return kept


def _in_steps(x: Tensor, step: Tensor) -> Tensor:
    """x [B, heads, S, channels], step [heads, 1, channels]."""
    return (x / step).round().clamp(-TOP, TOP) * step


def _cache_steps(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Steps of keys and values [heads, 1, channels] for the layer's inputs x [1, S, dim].

    The export takes them from one utterance, too.
    """
    assert isinstance(layer, TransformerLayer)
    _, keys, values = layer.attention.project(layer.attention_norm(x), None)
    magnitudes = pair_magnitudes(keys[0].numpy()), np.abs(values[0].numpy())
    key, value = (torch.from_numpy(cache_steps(m.max(axis=1)[:, None])) for m in magnitudes)
    return key, value


def _rounding(change: Change, name: str) -> Rounding | None:
    if change.inputs is not None:
        return change.inputs.get(name)
    if not rounds_inputs(change.rule):
        return None
    return partial(rounded, block=input_block(change.rule))


def _hook(rounding: Rounding) -> Hook:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (rounding(inputs[0]),)

    return hook


def rounded(x: Tensor, block: int | None) -> Tensor:
    """x [..., columns] in 8 bits, one symmetric scale per block of columns, or per row (None)."""
    flat = x.flatten(0, -2)
    step = steps(flat, block)
    levels = (flat / step.clamp_min(1e-30)).round_()
    return (levels * step).reshape(x.shape)
