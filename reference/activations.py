"""Real activations of the reference, per graph: what an export is checked against."""

from __future__ import annotations

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
from flowvox.reference.speak import embed_prompt
from flowvox.reference.streamed import load_part, streamed_model
from flowvox.schedule import flow_schedule
from flowvox.source import ModelSource, Report
from flowvox.tensors import CODEC, component_of
from flowvox.tensors import FLOW as FLOW_PREFIX

TEXT = "The quick brown fox jumps over the lazy dog."
FRAMES = 4  # each costs one pass over all of the backbone's weights


class Activations(NamedTuple):
    """Inputs of one graph and the reference's outputs, by tensor name."""

    feeds: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


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
        BACKBONE: Activations(backbone_feeds(config, sequence.numpy()), {"hidden": hidden.numpy()}),
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
