"""Text -> speech with the torch reference: what `flowvox say -c` runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.config import SPECIAL_CODES
from flowvox.errors import PromptError
from flowvox.noise import frame_noise
from flowvox.prompt import build_prompt, prompt_embeddings, spoken_text
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.flow import PUBLISHED
from flowvox.reference.generate import Generation, decode_audio, generate
from flowvox.reference.model import VoxtralTTS, load_model
from flowvox.schedule import Sampling
from flowvox.source import ModelSource


def prompt_tokens(source: ModelSource, text: str, voice_frames: int) -> list[int]:
    """The prompt of B.2, with so many [AUDIO]; the text as the model reads it."""
    return build_prompt(source.tokenizer().encode(spoken_text(text, source.config)), voice_frames)


def embed_prompt(model: VoxtralTTS, checkpoint: ModelSource, text: str, voice: str) -> Tensor:
    """The same as embeddings [P, dim]."""
    rows = checkpoint.voice(voice)
    prompt = prompt_tokens(checkpoint, text, len(rows))
    if len(prompt) >= model.config.backbone.max_positions:
        raise PromptError("the text is longer than the model's context; split it")
    with torch.inference_mode():
        tokens = model.backbone.embed_tokens(torch.tensor(prompt)).numpy()
    return torch.from_numpy(prompt_embeddings(prompt, tokens, rows))


@dataclass
class ReferenceTTS:
    """The checkpoint and its float32 model."""

    checkpoint: ModelSource
    model: VoxtralTTS

    @classmethod
    def load(cls, path: Path) -> ReferenceTTS:
        """Raises ConfigError, CheckpointError."""
        checkpoint = Checkpoint.open(path)
        return cls(checkpoint, load_model(checkpoint))

    def generate(
        self,
        text: str,
        voice: str,
        *,
        seed: int,
        max_frames: int,
        sampling: Sampling = PUBLISHED,
    ) -> Generation:
        """Codes of one utterance; noise row t belongs to frame t."""
        prompt = embed_prompt(self.model, self.checkpoint, text, voice)
        noise = frame_noise(seed, max_frames, self.model.config.codec.acoustic_dim)
        return generate(self.model, prompt, torch.from_numpy(noise), sampling)

    @torch.inference_mode()
    def hidden_states(self, text: str, voice: str, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """Teacher-forced hidden states [F + 1, dim] before each given frame and after the last."""
        prompt = embed_prompt(self.model, self.checkpoint, text, voice)
        values = torch.from_numpy(codes).long() + SPECIAL_CODES
        sequence = torch.cat([prompt, self.model.backbone.embed_values(values)])
        hidden: Tensor = self.model.backbone(sequence[None])[0, len(prompt) - 1 :]
        return hidden.numpy()

    def decode(self, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """Codes [F, 37] -> float32 samples."""
        return decode_audio(self.model, codes)
