"""Real activations of the reference, per graph: what an export is checked against."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.config import DEFAULT_GUIDANCE, DEFAULT_STEPS
from flowvox.errors import VoiceError
from flowvox.feeds import backbone_feeds, decoder_feeds
from flowvox.graphs import BACKBONE, CODEC_DECODER, CODEC_ENCODER, FLOW
from flowvox.noise import frame_noise
from flowvox.reference.generate import generate
from flowvox.reference.layers import KVCache
from flowvox.reference.speak import embed_prompt
from flowvox.reference.streamed import load_part, streamed_model
from flowvox.schedule import flow_schedule
from flowvox.source import ModelSource, Report
from flowvox.tensors import CODEC, component_of
from flowvox.tensors import FLOW as FLOW_PREFIX

TEXT = "The quick brown fox jumps over the lazy dog."
FRAMES = 4  # each costs one pass over all of the backbone's weights


class Activations(NamedTuple):
    """Inputs of one graph and the reference's outputs, by tensor name.

    largest: of the backbone, magnitudes in each channel of the KV cache, [kv heads, head_dim] by input
    name; of keys, whose pairs of channels are rotated, those of the pairs.
    """

    feeds: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    largest: Mapping[str, NDArray[np.float32]] = MappingProxyType({})


@torch.inference_mode()
def record(
    checkpoint: ModelSource, report: Report = lambda done, total: None
) -> dict[str, Activations]:
    """Speak a few frames with the first voice and record every graph's inputs and outputs.

    Memory holds the flow head and one layer of the backbone, then the codec. `report` is told bytes
    read. Raises CheckpointError, VoiceError.
    """
    config = checkpoint.config
    voice = next(iter(checkpoint.voices()), None)
    if voice is None:
        raise VoiceError(f"{checkpoint.path}: has no voices; a model speaks in one of its voices")
    loaded = _Loaded(checkpoint, report)
    model = streamed_model(checkpoint, loaded)
    loaded(load_part(model.flow, FLOW_PREFIX, checkpoint))
    spoken = _Calls()
    model.backbone.register_forward_hook(spoken)
    cached = _Largest(model.backbone.layers)
    prompt = embed_prompt(model, checkpoint, TEXT, voice)
    noise = torch.from_numpy(frame_noise(0, FRAMES + 1, config.codec.acoustic_dim))
    codes = generate(model, prompt, noise[:FRAMES]).codes
    if len(codes) == 0:  # an untrained model may end at once; any codes will do
        codes = np.zeros((FRAMES, config.n_codebooks), dtype=np.int32)
    sequence, hidden = spoken.inputs(), spoken.outputs()
    states = hidden[0, len(prompt) - 1 :]
    logits = model.flow.semantic_codebook_output(states)
    latents = model.flow.sample(states, noise[: len(states)])
    model.flow.to("meta")
    loaded(load_part(model.codec, CODEC, checkpoint))
    wide = torch.from_numpy(codes).long()
    samples = model.codec.decode(wide[None])

    recordings = {
        BACKBONE: Activations(
            backbone_feeds(config, sequence.numpy()), {"hidden": hidden.numpy()}, cached.found
        ),
        FLOW: Activations(
            {
                "hidden": states.numpy(),
                "noise": noise[: len(states)].numpy(),
                "schedule": flow_schedule("euler", DEFAULT_STEPS, DEFAULT_GUIDANCE),
            },
            {"semantic_logits": logits.numpy(), "latents": latents.numpy()},
        ),
        CODEC_DECODER: Activations(
            decoder_feeds(config, wide[None].numpy()), {"samples": samples.numpy()}
        ),
    }
    if checkpoint.has_encoder:
        recordings[CODEC_ENCODER] = Activations(
            {"samples": samples.numpy()}, {"codes": model.codec.encode(samples).numpy()}
        )
    loaded.end()
    return recordings


class _Calls:
    """A forward hook that keeps the embeddings [1, S, dim] of each call and its hidden states."""

    def __init__(self) -> None:
        self._calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._calls.append((inputs[0], output))

    def inputs(self) -> Tensor:
        return torch.cat([given for given, _ in self._calls], dim=1)

    def outputs(self) -> Tensor:
        return torch.cat([made for _, made in self._calls], dim=1)


class _Largest:
    """Forward hooks on the backbone's layers that look into their caches."""

    def __init__(self, layers: torch.nn.ModuleList) -> None:
        self.found: dict[str, NDArray[np.float32]] = {}
        for i, layer in enumerate(layers):
            layer.register_forward_hook(partial(self._look, i))

    def _look(
        self, i: int, module: torch.nn.Module, inputs: tuple[Any, ...], output: Tensor
    ) -> None:
        cache: KVCache = inputs[2]
        keys, values = cache.keys[0, :, : cache.length], cache.values[0, :, : cache.length]
        pairs = keys.view(*keys.shape[:-1], -1, 2).norm(dim=-1).repeat_interleave(2, dim=-1)
        for kind, magnitudes in (("key", pairs), ("value", values.abs())):
            self.found[f"past.{i}.{kind}"] = magnitudes.amax(dim=1).numpy()


class _Loaded:
    """Counts bytes read, of those that speaking all FRAMES reads."""

    def __init__(self, checkpoint: ModelSource, report: Report) -> None:
        self._report, self._done, self._total = report, 0, 0
        for name in checkpoint.shapes:
            times = {"backbone": 1 + FRAMES, "flow": 1, "codec_decoder": 1, "codec_encoder": 1}
            self._total += times.get(component_of(name) or "", 0) * checkpoint.stored_bytes(name)

    def __call__(self, size: int) -> None:
        self._done += size
        self._report(self._done, self._total)

    def end(self) -> None:
        self._report(self._total, self._total)
