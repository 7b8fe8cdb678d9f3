"""The prompt of a speech request: which token stands where (format B.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.errors import PromptError, VoiceError
from flowvox.numbers import in_words
from flowvox.titles import titles_in_words

BOS, AUDIO, BEGIN_AUDIO, REPEAT_AUDIO_TEXT, NEXT_AUDIO_TEXT = 1, 24, 25, 35, 36
FIXED_TOKENS = 5  # a prompt has this many positions besides voice and text


def build_prompt(text_ids: Sequence[int], voice_frames: int) -> list[int]:
    """`<s> [BEGIN_AUDIO] [AUDIO]*N [NEXT_AUDIO_TEXT] text [REPEAT_AUDIO_TEXT] [BEGIN_AUDIO]`."""
    voice = [AUDIO] * voice_frames
    return [BOS, BEGIN_AUDIO, *voice, NEXT_AUDIO_TEXT, *text_ids, REPEAT_AUDIO_TEXT, BEGIN_AUDIO]


def prompt_embeddings(
    prompt: Sequence[int], token_rows: NDArray[np.float32], voice_rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Token rows [P, dim] of `prompt` with the rows at [AUDIO] replaced, in order, by the voice.

    voice_rows: [N, dim]; N is the number of [AUDIO] tokens. Raises VoiceError if it is not.
    """
    slots = np.flatnonzero(np.asarray(prompt) == AUDIO)
    if len(slots) != len(voice_rows) or voice_rows.shape[1:] != token_rows.shape[1:]:
        raise VoiceError(
            f"the voice has shape {list(voice_rows.shape)}, but the prompt wants "
            f"[{len(slots)}, {token_rows.shape[1]}]; the voice belongs to another model"
        )
    embeddings = np.array(token_rows, dtype=np.float32)
    embeddings[slots] = voice_rows
    return embeddings


def spoken_text(text: str, config: ModelConfig) -> str:
    """The text as this model reads it: numbers and titles in words where it was trained so.

    Doing it twice changes nothing. Raises PromptError where there is nothing to say.
    """
    if not text.strip():
        raise PromptError("the text is empty; give something to say")
    return in_words(titles_in_words(text)) if config.numbers == "words" else text
