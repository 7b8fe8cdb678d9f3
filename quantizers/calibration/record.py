"""The model's own trajectories, and what its matrices were multiplied with on them.

First the fp32 reference speaks freely (`speak`). Then the sequences go through it once more, all
positions of all of them through one layer after the other, so that memory holds one layer, its moments,
and a hidden state per position (`collect`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from flowvox.config import DEFAULT_GUIDANCE, SPECIAL_CODES, TransformerConfig
from flowvox.noise import frame_noise
from flowvox.quantizers.calibration.moments import Moments
from flowvox.quantizers.calibration.sites import Site, backbone_layer_sites, flow_sites
from flowvox.quantizers.calibration.speech import Spoken
from flowvox.quantizers.calibration.texts import Line
from flowvox.reference.layers import rope_table
from flowvox.reference.model import VoxtralTTS
from flowvox.reference.speak import embed_prompt
from flowvox.reference.streamed import StreamedLayer
from flowvox.reference.together import generate_together
from flowvox.source import ModelSource
from flowvox.tensors import FLOW

END_WEIGHT = 4.0  # what the position that says END counts: one per utterance, and it decides much
CACHE_BYTES = 3 << 29  # of keys and values: 48 utterances of the 4B shape are spoken at once
FLOW_FRAMES = 1024  # at most; each makes 42 positions per layer
Keep = Callable[[str, Moments], None]


@torch.inference_mode()
def speak(
    model: VoxtralTTS, source: ModelSource, lines: list[Line], max_frames: int
) -> list[Spoken]:
    """Each line by the streamed model, its flow head loaded, for at most so many frames."""
    prompts = [embed_prompt(model, source, line.text, line.voice) for line in lines]
    width = source.config.codec.acoustic_dim
    at_once = _at_once(source.config.backbone, max(map(len, prompts)) + max_frames)
    spoken = []
    for start in range(0, len(lines), at_once):
        here = slice(start, start + at_once)
        noise = np.stack([frame_noise(line.seed, max_frames, width) for line in lines[here]])
        made = generate_together(model, prompts[here], torch.from_numpy(noise))
        spoken += [
            Spoken(line, generation.codes, generation.ended)
            for line, generation in zip(lines[here], made, strict=True)
        ]
    return spoken


def _at_once(config: TransformerConfig, positions: int) -> int:
    values = 2 * config.n_layers * config.kv_dim * positions
    return max(1, CACHE_BYTES // (4 * values))


@torch.inference_mode()
def collect(model: VoxtralTTS, source: ModelSource, spoken: list[Spoken], keep: Keep) -> None:
    """Moments of every site, handed to `keep` under its name as soon as they are complete."""
    states, frames = [], []
    for one in spoken:
        prompt = embed_prompt(model, source, one.line.text, one.line.voice)
        values = torch.from_numpy(one.codes).long() + SPECIAL_CODES
        states.append(torch.cat([prompt, model.backbone.embed_values(values)]))
        frames.append(len(one.codes) + 1)
    weights = [_weights(len(x), one.ended) for x, one in zip(states, spoken, strict=True)]
    for index, streamed in enumerate(model.backbone.layers):
        assert isinstance(streamed, StreamedLayer)
        layer = streamed.load()
        with watched(layer, f"layers.{index}.", backbone_layer_sites(index), keep) as watch:
            for number, x in enumerate(states):
                watch.weights = weights[number][None]
                states[number] = layer(x[None], _rope(model, len(x)))[0]
    hidden = [model.backbone.norm(x)[-count:] for x, count in zip(states, frames, strict=True)]
    _collect_flow(model, source, spoken, hidden, keep)


def _weights(positions: int, ended: bool) -> Tensor:
    weights = torch.ones(positions)
    weights[-1] = END_WEIGHT if ended else 1.0
    return weights


def _rope(model: VoxtralTTS, positions: int) -> Tensor:
    c = model.backbone.config
    return rope_table(torch.arange(positions), c.head_dim, c.rope_theta, torch.float32)


def _collect_flow(
    model: VoxtralTTS, source: ModelSource, spoken: list[Spoken], hidden: list[Tensor], keep: Keep
) -> None:
    """Semantic logits of all states, then the velocities of the frames that were really made."""
    flow, width = model.flow, source.config.codec.acoustic_dim
    made, noise = [], []
    with watched(flow, FLOW, flow_sites(source.config), keep) as watch:
        for states, one in zip(hidden, spoken, strict=True):
            watch.weights = _weights(len(states), one.ended)
            flow.semantic_codebook_output(states)
            frames = len(states) - one.ended
            made.append(states[:frames])
            noise.append(torch.from_numpy(frame_noise(one.line.seed, frames, width)))
        states, start = torch.cat(made), torch.cat(noise)
        step = -(-len(states) // FLOW_FRAMES)
        states, start = states[::step], start[::step]
        branches = torch.tensor([DEFAULT_GUIDANCE**2, (1 - DEFAULT_GUIDANCE) ** 2])
        for at in range(0, len(states), 64):
            part = states[at : at + 64]
            watch.weights = branches.repeat_interleave(len(part))
            flow.sample(part, start[at : at + 64])


class _Watch:
    """Adds the inputs of watched matrices to their sites' moments.

    weights: what the next inputs count, [rows], or [rows, tokens] where tokens of a row differ.
    """

    def __init__(self) -> None:
        self.weights = torch.ones(0)
        self.moments: dict[str, Moments] = {}

    def see(self, site: Site, x: Tensor) -> None:
        """x: [rows, columns] or [rows, tokens, columns]."""
        weights = self.weights
        if x.ndim == 3:
            weights = weights[:, None].expand(x.shape[:2]) if weights.ndim == 1 else weights
            tokens = 1 if site.first_only else x.shape[1]
            x, weights = x[:, :tokens].flatten(0, 1), weights[:, :tokens].flatten()
        self.moments.setdefault(site.name, Moments(x.shape[-1])).add(x, weights)


@contextmanager
def watched(module: nn.Module, prefix: str, sites: list[Site], keep: Keep) -> Iterator[_Watch]:
    """Watch the sites' matrices of `module`, whose parameters are called `prefix` + name."""
    watch = _Watch()

    def hook(site: Site) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: watch.see(site, inputs[0])

    handles = []
    for site in sites:
        name = site.tensors[0].removeprefix(prefix).removesuffix(".weight")
        handles.append(module.get_submodule(name).register_forward_pre_hook(hook(site)))
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()
    for name in list(watch.moments):
        keep(name, watch.moments.pop(name))
