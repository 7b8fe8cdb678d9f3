"""The torch reference as an artifact of the harness: the truth, measured like everything else."""

from __future__ import annotations

from pathlib import Path

import torch

from flowvox.eval.artifact import Codes, Floats, Spoken, is_rotated
from flowvox.exporters.gguf.reader import GgufCheckpoint
from flowvox.reference.model import load_model
from flowvox.reference.speak import ReferenceTTS
from flowvox.runtime.limits import second_frames
from flowvox.schedule import Sampling


def open_reference(path: Path) -> tuple[ReferenceTTS, str, str | None]:
    """(the model of a checkpoint folder or GGUF file, its recipe, what it was made from)."""
    if path.is_dir():
        return ReferenceTTS.load(path), "reference", None
    source = GgufCheckpoint(path)
    return ReferenceTTS(source, load_model(source)), f"gguf {source.recipe}", source.made_from


class ReferenceArtifact:
    """A checkpoint, or the weights of a GGUF file, and the float32 torch model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tts, self.recipe, made_from = open_reference(path)
        self._flow = self._tts.model.flow
        checkpoint = self._tts.checkpoint
        self.config, self.voices = checkpoint.config, sorted(checkpoint.voices())
        self.sha256 = checkpoint.source_hash()
        self.source_sha256 = made_from or self.sha256
        self.sampling = Sampling()
        self.rotated = isinstance(checkpoint, GgufCheckpoint) and is_rotated(checkpoint.rules)

    def speak(self, text: str, voice: str, seed: int, max_seconds: float) -> Spoken:
        """Raises FlowvoxError."""
        frames = second_frames(max_seconds, self.config)
        generation = self._tts.generate(
            text, voice, seed=seed, max_frames=frames, sampling=self.sampling
        )
        return Spoken(generation.codes, self._tts.decode(generation.codes), generation.ended)

    def hidden_states(self, text: str, voice: str, codes: Codes) -> Floats:
        """Raises FlowvoxError."""
        return self._tts.hidden_states(text, voice, codes)

    def layers(self, text: str, voice: str, codes: Codes) -> Floats:
        """Raises FlowvoxError."""
        found: list[torch.Tensor] = []
        handles = [
            layer.register_forward_hook(lambda module, inputs, output: found.append(output[0]))
            for layer in self._tts.model.backbone.layers
        ]
        try:
            hidden = self._tts.hidden_states(text, voice, codes)
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack(found)[:, -len(hidden) :].numpy()

    def semantic_logits(self, hidden: Floats) -> Floats:
        """The rows that can never win come as -inf."""
        with torch.inference_mode():
            logits = self._flow.semantic_logits(torch.from_numpy(hidden))
        return logits[:, : self.config.semantic_rows].numpy()

    def latents(self, hidden: Floats, noise: Floats) -> Floats:
        """With `sampling`."""
        with torch.inference_mode():
            states = torch.from_numpy(hidden), torch.from_numpy(noise)
            return self._flow.sample(*states, self.sampling).numpy()

    def velocity(self, hidden: Floats, x: Floats, time: float) -> Floats:
        """Guided, as sampling does it."""
        with torch.inference_mode():
            state = torch.from_numpy(hidden)
            guidance = self.sampling.guidance
            return self._flow.guided_velocity(torch.from_numpy(x), time, state, guidance).numpy()

    def decode(self, codes: Codes) -> Floats:
        """All frames at once."""
        return self._tts.decode(codes)
