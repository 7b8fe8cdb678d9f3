"""What the harness asks of anything that speaks: bundles, and what the torch reference reads."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowvox.bundle import file_hash
from flowvox.config import SPECIAL_CODES, ModelConfig
from flowvox.errors import FlowvoxError
from flowvox.eval.layers import LayerProbe
from flowvox.manifest import MANIFEST
from flowvox.schedule import Sampling

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]


@dataclass(frozen=True)
class Spoken:
    """codes [F, 37] without the +2; samples float32; ended: the model stopped by itself."""

    codes: Codes
    samples: Floats
    ended: bool


class Artifact(Protocol):
    """hidden states are [F + 1, dim]: before each frame and after the last one."""

    path: Path
    sha256: str
    source_sha256: str  # of the checkpoint that it was made from
    recipe: str
    config: ModelConfig
    voices: list[str]
    sampling: Sampling  # what speaks and what `latents` integrates with
    rotated: bool  # its residual stream, and so its hidden states, are in a basis of their own

    def speak(self, text: str, voice: str, seed: int, max_seconds: float) -> Spoken:
        """Free-running synthesis."""
        ...

    def hidden_states(self, text: str, voice: str, codes: Codes) -> Floats:
        """Teacher-forced: the backbone's output over the prompt and given codes [F, 37]."""
        ...

    def layers(self, text: str, voice: str, codes: Codes) -> Floats:
        """Teacher-forced: the residual stream after each layer, [layers, F + 1, dim]."""
        ...

    def semantic_logits(self, hidden: Floats) -> Floats:
        """[N, dim] -> [N, rows], raw, only the rows that the model has."""
        ...

    def latents(self, hidden: Floats, noise: Floats) -> Floats:
        """Integrated from noise [N, 36]; not clamped."""
        ...

    def velocity(self, hidden: Floats, x: Floats, time: float) -> Floats:
        """Guided velocity of the flow head at x [N, 36] and time: [N, 36]."""
        ...

    def decode(self, codes: Codes) -> Floats:
        """codes [F, 37] -> samples."""
        ...


def open_artifact(path: Path, threads: int | None = None) -> Artifact:
    """A bundle by the runtime, everything else by the torch reference. Raises FlowvoxError."""
    if (path / MANIFEST).exists():
        return BundleArtifact(path, threads)
    from flowvox.eval.reference_artifact import ReferenceArtifact

    return ReferenceArtifact(path)


A = TypeVar("A", bound=Artifact)


def with_sampling(artifact: A, sampling: Sampling) -> A:
    """The same weights with `sampling`; another `sha256` if that is not the artifact's own."""
    other = copy.copy(artifact)
    if sampling != artifact.sampling:
        other.sampling = sampling
        other.sha256 = hashlib.sha256(
            artifact.sha256.encode() + sampling.schedule().tobytes()
        ).hexdigest()
    return other


def artifact_bytes(path: Path) -> int:
    """Size of a GGUF file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def is_rotated(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe turned the stream of the backbone."""
    return "residual" in str(recipe.get("rotation", ""))


class BundleArtifact:
    """A bundle and its sessions."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        from flowvox.runtime.tts import TTS

        self.path = path
        self._tts = TTS.load(path, threads=threads)
        bundle = self._tts.bundle
        self.sha256 = file_hash(path / MANIFEST)  # it lists the hashes of all other files
        self.source_sha256 = str(bundle.manifest["model"]["source_sha256"])
        self.recipe = str(bundle.manifest["recipe"]["name"])
        self.config, self.voices = bundle.config, bundle.voices
        self.sampling = self._tts.sampling
        self.rotated = is_rotated(bundle.manifest["recipe"])
        self._tokenizer = bundle.tokenizer()

    def speak(self, text: str, voice: str, seed: int, max_seconds: float) -> Spoken:
        """Raises FlowvoxError."""
        options = asdict(self.sampling)
        speech = self._tts.synthesize(text, voice, seed=seed, max_seconds=max_seconds, **options)
        return Spoken(speech.codes, speech.audio.samples, speech.ended)

    def hidden_states(self, text: str, voice: str, codes: Codes) -> Floats:
        """Raises FlowvoxError for a text that takes more than one run of the model."""
        return self._tts.engine.hidden_states(self._prompt(text, voice), codes)

    def layers(self, text: str, voice: str, codes: Codes) -> Floats:
        """Raises as `hidden_states`."""
        prompt = self._prompt(text, voice)
        values = codes.astype(np.int64) + SPECIAL_CODES
        sequence = np.concatenate([prompt, self._tts.engine.embed_frame(values)])
        return np.stack(self._probe(sequence))[:, len(prompt) - 1 :]

    @cached_property
    def _probe(self) -> LayerProbe:
        return LayerProbe(self.path, self.config)

    def _prompt(self, text: str, voice: str) -> Floats:
        from flowvox.runtime.plan import plan

        rows = self._tts.bundle.voice(voice)
        pieces = plan(text, self._tokenizer, self.config, len(rows))
        if len(pieces) != 1:
            raise FlowvoxError("the text takes more than one run of the model")
        return self._tts.engine.embed_prompt(pieces[0].ids, rows)

    def semantic_logits(self, hidden: Floats) -> Floats:
        """The head is part of the flow graph: one call without a step."""
        noise = np.zeros((len(hidden), self.config.codec.acoustic_dim), dtype=np.float32)
        schedule = np.zeros((1, 5), dtype=np.float32)
        return self._tts.engine.flow(hidden, noise, schedule)[0][:, : self.config.semantic_rows]

    def latents(self, hidden: Floats, noise: Floats) -> Floats:
        """With `sampling`."""
        return self._tts.engine.flow(hidden, noise, self.sampling.schedule())[1]

    def velocity(self, hidden: Floats, x: Floats, time: float) -> Floats:
        """One evaluation of weight 1: the graph returns x + v."""
        schedule = np.array([[time, self.sampling.guidance, 0, 1, 0]], dtype=np.float32)
        return self._tts.engine.flow(hidden, x, schedule)[1] - x

    def decode(self, codes: Codes) -> Floats:
        """A chunk after the other, as the runtime does."""
        from flowvox.runtime.codec import decode_whole

        return decode_whole(self._tts.engine.codec_session, codes)
