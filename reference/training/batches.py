"""Training batches of the language model: the prompt of format B.2, then the frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowvox.config import END_VALUE, SPECIAL_CODES, ModelConfig
from flowvox.reference.training.dataset import Dataset

BOS, AUDIO, BEGIN_AUDIO, REPEAT_TEXT, NEXT_TEXT = 1, 24, 25, 35, 36
SHORTEST_VOICE, LONGEST_VOICE = 8, 16  # frames of the voice prompt
SHORT_FRAMES, SHORT_UNTIL = 32, 0.08  # curriculum: short utterances first, for this share of time
LONGEST_FRAMES = 80
NOISY_SHARE, NOISE_LEVELS = 0.15, 1.5  # history frames that are disturbed, and by how much
WRONG_SEMANTIC_SHARE = 0.04

Index = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Batch:
    """B sequences of S positions, right-padded; M frames in all, in row order.

    ids [B, S]; is_token, is_code, predicts [B, S]; values [codes in the input, 37]; semantic [M + B]
    (END after each utterance), is_end [M + B]; latents [M, 36]; phonemes [M, 2] (this frame's and the
    next's); attend, attend_next: (row, position, key position) of the supervised attention.
    """

    ids: Tensor
    is_token: Tensor
    is_code: Tensor
    predicts: Tensor
    values: Tensor
    semantic: Tensor
    is_end: Tensor
    latents: Tensor
    phonemes: Tensor
    attend: Index
    attend_next: Index


class Sampler:
    """Draws utterances of similar length, with a voice prompt from another utterance."""

    def __init__(self, data: Dataset, config: ModelConfig, frames: int, seed: int) -> None:
        self.data, self.config, self.frames = data, config, frames
        self.rng = np.random.default_rng([5, seed])
        self.lengths = np.diff(data.starts)
        usable = (self.lengths >= 4) & (self.lengths <= LONGEST_FRAMES)
        self.training = np.flatnonzero(usable & ~data.held_out)
        self.held_out = np.flatnonzero(usable & data.held_out)
        self.by_voice = [
            np.flatnonzero((data.voice == v) & ~data.held_out & (self.lengths > LONGEST_VOICE + 4))
            for v in range(2)
        ]

    def batch(self, progress: float) -> Batch:
        """A training batch of about `frames` frames; each frame of the corpus is equally likely.

        Only short utterances while `progress` is small.
        """
        limit = SHORT_FRAMES if progress < SHORT_UNTIL else LONGEST_FRAMES
        pool = self.training[self.lengths[self.training] <= limit]
        share = self.lengths[pool] / self.lengths[pool].sum()
        anchor = self.lengths[self.rng.choice(pool, p=share)]
        near = pool[np.abs(self.lengths[pool] - anchor) <= 2 + anchor // 12]
        count = int(np.clip(self.frames // anchor, 4, 48))
        return self.collate(self.rng.choice(near, count), disturb=True)

    def held_out_batches(self, count: int) -> list[Batch]:
        """Fixed batches of 16 held-out utterances."""
        rng = np.random.default_rng(9)
        chosen = rng.permutation(self.held_out)[: 16 * count]
        ordered = chosen[np.argsort(self.lengths[chosen])]
        return [self.collate(part, disturb=False) for part in np.split(ordered, count)]

    def collate(self, utterances: np.ndarray, *, disturb: bool) -> Batch:
        """Prompt + frames of each utterance."""
        data, rng = self.data, self.rng
        voice_frames = int(rng.integers(SHORTEST_VOICE, LONGEST_VOICE + 1))
        rows = [self._row(int(u), voice_frames) for u in utterances]
        width = max(len(prompt) + n for prompt, _, n in rows)
        shape = (len(rows), width)
        ids = np.zeros(shape, dtype=np.int64)
        is_token, is_code, predicts = (np.zeros(shape, dtype=bool) for _ in range(3))
        values, semantic, is_end, latents, phonemes = [], [], [], [], []
        attend: list[tuple[int, int, int]] = []
        attend_next: list[tuple[int, int, int]] = []
        for r, (utterance, (prompt, voice, n)) in enumerate(zip(utterances, rows, strict=True)):
            here = slice(data.starts[utterance], data.starts[utterance] + n)
            start = len(prompt)
            ids[r, :start] = prompt
            is_token[r, :start] = ids[r, :start] != AUDIO
            is_code[r, :start] = ids[r, :start] == AUDIO
            is_code[r, start : start + n] = True
            predicts[r, start - 1 : start + n] = True
            frame_values = np.concatenate(
                [data.semantic[here, None], data.codes[here]], axis=1
            ).astype(np.int64)
            history = self._disturbed(frame_values) if disturb else frame_values
            values += [voice, history + SPECIAL_CODES]
            semantic.append(np.append(frame_values[:, 0] + SPECIAL_CODES, END_VALUE))
            is_end.append(np.append(np.zeros(n, dtype=bool), True))
            latents.append(frame_values[:, 1:] / np.float32(10) - 1)
            ph = np.asarray(data.phoneme[here], dtype=np.int64)
            phonemes.append(np.stack([ph, np.append(ph[1:], ph[-1:])], axis=1))
            first_text = 3 + len(voice)
            last_text = start - 3
            for t, token in enumerate(data.token[here]):
                if token >= 0:
                    attend.append((r, start - 1 + t, first_text + int(token)))
                    following = min(first_text + int(token) + 1, last_text)
                    attend_next.append((r, start - 1 + t, following))
        tensor = torch.from_numpy
        return Batch(
            ids=tensor(ids),
            is_token=tensor(is_token),
            is_code=tensor(is_code),
            predicts=tensor(predicts),
            values=tensor(np.concatenate(values)),
            semantic=tensor(np.concatenate(semantic)),
            is_end=tensor(np.concatenate(is_end)),
            latents=tensor(np.concatenate(latents).astype(np.float32)),
            phonemes=tensor(np.concatenate(phonemes)),
            attend=_columns(attend),
            attend_next=_columns(attend_next),
        )

    def _row(self, utterance: int, voice_frames: int) -> tuple[list[int], np.ndarray, int]:
        """(prompt ids, values of the voice rows, number of frames)."""
        data = self.data
        other = int(self.rng.choice(self.by_voice[data.voice[utterance]]))
        first = data.starts[other] + self.rng.integers(2, self.lengths[other] - voice_frames)
        span = slice(first, first + voice_frames)
        codes = np.concatenate([data.semantic[span, None], data.codes[span]], axis=1)
        end = np.array([[END_VALUE] + [0] * data.codes.shape[1]])
        voice = np.concatenate([codes.astype(np.int64) + SPECIAL_CODES, end])
        prompt = [BOS, BEGIN_AUDIO, *[AUDIO] * len(voice), NEXT_TEXT]
        prompt += [*data.token_ids[utterance], REPEAT_TEXT, BEGIN_AUDIO]
        return prompt, voice, int(self.lengths[utterance])

    def _disturbed(self, values: np.ndarray) -> np.ndarray:
        """Some frames of the history are made wrong, as they will be when it runs freely."""
        rng, out = self.rng, values.copy()
        noisy = rng.random(len(out)) < NOISY_SHARE
        change = np.rint(rng.normal(0, NOISE_LEVELS, (int(noisy.sum()), out.shape[1] - 1)))
        out[noisy, 1:] = np.clip(out[noisy, 1:] + change.astype(np.int64), 0, 20)
        wrong = rng.random(len(out)) < WRONG_SEMANTIC_SHARE
        size = self.config.codec.semantic_codebook_size
        out[wrong, 0] = rng.integers(0, size, int(wrong.sum()))
        return out


def _columns(triples: list[tuple[int, int, int]]) -> Index:
    rows, positions, keys = torch.tensor(triples).unbind(1)
    return rows, positions, keys
