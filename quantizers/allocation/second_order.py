"""Damage, estimated: gradients of a few random probes instead of a pass per candidate.

The cost of a candidate is the sum over the rows r of its matrices of (g_r . d_r)^2, with d the error
of its weights and g the probe's gradient (see `probes`); products between rows are left out, because
rows are rounded independently. One sweep serves all candidates of all groups: forward through the
layers, keeping their inputs, and back, one layer in memory at a time. Of large matrices some rows stand
for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from flowvox.config import SPECIAL_CODES
from flowvox.noise import frame_noise
from flowvox.prompt import AUDIO
from flowvox.quantizers.allocation.damage import Damage
from flowvox.quantizers.allocation.probes import Seen, Taps, latent_probe, semantic_probe
from flowvox.quantizers.calibration.record import END_WEIGHT
from flowvox.quantizers.calibration.speech import Spoken
from flowvox.reference.layers import rope_table
from flowvox.reference.model import VoxtralTTS
from flowvox.reference.speak import embed_prompt, prompt_tokens
from flowvox.reference.streamed import StreamedLayer, load_part, streamed_model
from flowvox.source import ModelSource, Report
from flowvox.tensors import CODE_EMBEDDINGS, FLOW, TOKEN_EMBEDDINGS

PROBES = 4  # of each kind
ROWS = 384  # of a matrix
FLOW_FRAMES = 96
SEED = 0

Probe = dict[str, Seen]
Visit = Callable[[dict[str, Tensor], list[Probe], list[Probe]], None]
"""Which rows of each tensor are looked at; what every semantic and every acoustic probe saw of it."""


class Looked(NamedTuple):
    """A matrix under a candidate. error: [rows, columns], of its weights in the rows that stand for all
    `rows`.

    semantic, acoustic: what the probes saw of it; empty where they do not depend on it.
    """

    error: Tensor
    rows: int
    semantic: list[Seen]
    acoustic: list[Seen]


def sweep(
    source: ModelSource,
    spoken: Sequence[Spoken],
    visit: Visit,
    report: Report = lambda done, total: None,
) -> None:
    """Hand the gradients of all matrices and tables to `visit`, a part of the model at a time."""
    model = streamed_model(source)
    load_part(model.flow, FLOW, source)
    model.flow.requires_grad_(False)
    layers = model.backbone.layers
    done, steps = 0, 2 * len(layers) + 1

    def step() -> None:
        nonlocal done
        done += 1
        report(done, steps)

    with torch.no_grad():
        rows = []
        for one in spoken:
            prompt = embed_prompt(model, source, one.line.text, one.line.voice)
            values = torch.from_numpy(one.codes).long() + SPECIAL_CODES
            rows.append(torch.cat([prompt, model.backbone.embed_values(values)]))
        states = [nn.utils.rnn.pad_sequence(rows, batch_first=True)]
        c = model.backbone.config
        rope = rope_table(torch.arange(states[0].shape[1]), c.head_dim, c.rope_theta, torch.float32)
        for layer in layers:
            states.append(layer(states[-1], rope))
            step()
    lengths = [len(row) for row in rows]
    back = _flow(model, spoken, lengths, states.pop(), visit)
    step()
    for index in reversed(range(len(layers))):
        streamed = layers[index]
        assert isinstance(streamed, StreamedLayer)
        layer, prefix, taps = streamed.load().requires_grad_(False), f"layers.{index}.", Taps(ROWS)
        x = states.pop().requires_grad_(True)
        found = []
        with taps.on(layer, prefix):
            y = layer(x, rope)
            for n, gradient in enumerate(back):
                (back[n],) = torch.autograd.grad(y, x, gradient, retain_graph=n + 1 < len(back))
                found.append(taps.take())
        visit(taps.rows, found[:PROBES], found[PROBES:])
        step()
    for tensor, places in _table_rows(source, spoken, lengths).items():
        used, sums = _gathered(places, back)
        by_probe = [{tensor: Seen(gradient)} for gradient in sums]
        visit({tensor: used}, by_probe[:PROBES], by_probe[PROBES:])


def damage(errors: Iterable[Looked], block: int | None, *, rounds_inputs: bool) -> Damage:
    """Of a candidate. block: of inputs that share a scale, where they are rounded."""
    kinds = [0.0, 0.0]
    for look in errors:
        for kind, probes in enumerate((look.semantic, look.acoustic)):
            for seen in probes:
                sums = (look.error * seen.gradient).sum(-1).double().square().sum()
                cost = float(sums) * look.rows / len(look.error)
                kinds[kind] += (cost + rounds_inputs * seen.rounding.get(block, 0.0)) / len(probes)
    return _damage(*kinds)


def cache_damage(semantic: Sequence[Probe], acoustic: Sequence[Probe]) -> Damage:
    """Of an 8-bit KV cache in the layers that the probes saw."""
    means = (
        sum(seen.cache for probe in probes for seen in probe.values()) / max(len(probes), 1)
        for probes in (semantic, acoustic)
    )
    return _damage(*means)


def _damage(semantic: float, acoustic: float) -> Damage:
    """From the mean of (gradient . error)^2 over either kind of probes."""
    # Levels change where the error passes a boundary: E|e| of a normal error, in levels.
    return Damage(0.5 * semantic, acoustic, min(1.0, (2 * acoustic / np.pi) ** 0.5))


def _flow(
    model: VoxtralTTS, spoken: Sequence[Spoken], lengths: list[int], last: Tensor, visit: Visit
) -> list[Tensor]:
    """Gradients of the flow head to `visit`; returns those of the last states [B, S, dim], by probe."""
    config, generator = model.config, torch.Generator().manual_seed(SEED)
    leaf = last.requires_grad_(True)
    weights, hidden, noise = [], [], []
    for i, (one, length) in enumerate(zip(spoken, lengths, strict=True)):
        count = len(one.codes) + 1
        weights.append(torch.ones(count))
        weights[-1][-1] = END_WEIGHT if one.ended else 1.0
        hidden.append(leaf[i, length - count : length])
        noise.append(frame_noise(one.line.seed, count, config.codec.acoustic_dim))
    states = model.backbone.norm(torch.cat(hidden))
    step = -(-len(states) // FLOW_FRAMES)
    taps, found, back = Taps(ROWS), [], []
    with taps.on(model.flow, FLOW):
        logits = model.flow.semantic_logits(states)
        start = torch.from_numpy(np.concatenate(noise))[::step]
        latents = model.flow.sample(states[::step], start)
        levels = config.codec.acoustic_codebook_size
        for n in range(2 * PROBES):
            if n < PROBES:
                probe = semantic_probe(logits, torch.cat(weights), generator)
            else:
                probe = latent_probe(latents, levels, generator)
            probe.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            found.append(taps.take())
            assert leaf.grad is not None
            back.append(leaf.grad)
            leaf.grad = None
    visit(taps.rows, found[:PROBES], found[PROBES:])
    return back


def _table_rows(
    source: ModelSource, spoken: Sequence[Spoken], lengths: list[int]
) -> dict[str, list[tuple[int, int, int]]]:
    """By table: (utterance, position, row) of every row that was added into an embedding."""
    offsets = np.asarray(source.config.code_offsets)
    tokens, codes = [], []
    for i, (one, length) in enumerate(zip(spoken, lengths, strict=True)):
        prompt = prompt_tokens(source, one.line.text, len(source.voice(one.line.voice)))
        tokens += [(i, at, row) for at, row in enumerate(prompt) if row != AUDIO]
        first = length - len(one.codes)
        for at, values in enumerate(one.codes + SPECIAL_CODES + offsets):
            codes += [(i, first + at, int(row)) for row in values]
    return {TOKEN_EMBEDDINGS: tokens, CODE_EMBEDDINGS: codes}


def _gathered(
    places: list[tuple[int, int, int]], back: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The rows that were used, and by probe the sum of what flowed back to each of them."""
    utterance, position, row = torch.tensor(places).T
    used, index = torch.unique(row, return_inverse=True)
    sums = []
    for gradient in back:
        total = torch.zeros(len(used), gradient.shape[-1])
        sums.append(total.index_add_(0, index, gradient[utterance, position]))
    return used, sums
