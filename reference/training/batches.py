"""Training batches of the language model, made on the device: the prompt (B.2), then the frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowvox.config import END_VALUE, SPECIAL_CODES, ModelConfig
from flowvox.reference.training.bpe import SPECIALS
from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.speech import PRESETS, Speech

BOS, AUDIO, BEGIN_AUDIO, REPEAT_TEXT, NEXT_TEXT = 1, 24, 25, 35, 36
LONGEST_FRAMES = 420
SHORTEST_DONOR = 45  # frames of an utterance that voice prompts are cut from
NOISY_SHARE, NOISE_LEVELS = 0.3, 1.5  # history frames that are disturbed, and by how much
WRONG_SEMANTIC_SHARE = 0.04
OVERRUN_SHARE, LONGEST_OVERRUN = 0.25, 10  # utterances that go on after their END, and frames
LENGTH_SPREAD = 0.06  # a batch holds utterances of nearly one length


@dataclass(frozen=True)
class Batch:
    """B sequences of S positions, right-padded; M frames and E ENDs in all, in row order.

    ids [B, S]: AUDIO where a voice row stands; is_token, is_code, predicts [B, S]; values [codes in the
    input, 37]; is_history [codes in the input]: those of the M frames; semantic [M + E] (END after each
    utterance, and after each frame that follows it nevertheless), is_end [M + E]; latents [M, 36];
    phonemes [M, 2] (this frame's first and third label); row, position [M]: what predicts a frame;
    key [M]: position of the token spoken in the frame, -1 where unknown; next_key [M].
    """

    ids: Tensor
    is_token: Tensor
    is_code: Tensor
    is_history: Tensor
    predicts: Tensor
    values: Tensor
    semantic: Tensor
    is_end: Tensor
    latents: Tensor
    phonemes: Tensor
    row: Tensor
    position: Tensor
    key: Tensor
    next_key: Tensor


class Utterances:
    """Everything the language model learns from, on the device."""

    def __init__(self, work: Path, device: str) -> None:
        corpus, speech = Corpus.load(work / "corpus.npz"), Speech.load(work / "speech")
        semantics = Semantics.load(work / "semantics.npz")

        def on(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array)).to(device)

        first = np.cumsum(corpus.token_counts) - corpus.token_counts
        sentence = np.asarray(speech.sentence)
        self.device = device
        self.tokens = on(corpus.tokens.astype(np.int32))
        self.token_first = on(first[sentence])
        self.token_count = on(corpus.token_counts[sentence])
        self.starts = on(np.asarray(speech.starts))
        self.lengths = self.starts.diff()
        self.codes = on(np.load(work / "codes.npy"))
        self.semantic = on(semantics.codes)
        self.labels = on(semantics.labels)
        self.spoken = on(np.load(work / "tokens.npy"))
        speaker = np.asarray(speech.speaker)
        held = np.load(work / "held_out.npy")
        lengths = np.diff(speech.starts)
        usable = (lengths >= 4) & (lengths <= LONGEST_FRAMES)
        self.training = np.flatnonzero(usable & ~held)
        self.held_out = np.flatnonzero(usable & held)
        # Voice prompts: utterances of each speaker that are long enough.
        donors = np.flatnonzero(~held & (lengths >= SHORTEST_DONOR))
        donors = donors[np.argsort(speaker[donors], kind="stable")]
        counts = np.bincount(speaker[donors], minlength=speaker.max() + 1)
        self.donors = on(donors)
        self.donor_first = on((np.cumsum(counts) - counts)[speaker])
        self.donor_count = on(counts[speaker])
        self.speaker = speaker
        self.frame_counts = lengths


class Sampler:
    """Draws utterances of similar length, with a voice prompt from another utterance."""

    def __init__(
        self,
        data: Utterances,
        config: ModelConfig,
        positions: int,
        voice: tuple[int, int],
        seed: int,
    ) -> None:
        self.data, self.config, self.positions = data, config, positions
        self.voice = voice  # shortest and longest prompt, in frames
        self.rng = np.random.default_rng([5, seed])
        has_voice = data.donor_count.cpu().numpy() > 0
        self.training = data.training[has_voice[data.training]]
        self.order = self.training[np.argsort(data.frame_counts[self.training], kind="stable")]
        self.sorted_lengths = data.frame_counts[self.order]
        share = self.sorted_lengths / self.sorted_lengths.sum()
        self.cumulative = np.cumsum(share)

    def batch(self) -> Batch:
        """A training batch of about `positions` positions; each frame is equally likely."""
        place = int(np.searchsorted(self.cumulative, self.rng.random()))
        anchor = self.sorted_lengths[min(place, len(self.order) - 1)]
        low = np.searchsorted(self.sorted_lengths, anchor * (1 - LENGTH_SPREAD) - 1)
        high = np.searchsorted(self.sorted_lengths, anchor * (1 + LENGTH_SPREAD) + 1, "right")
        count = int(np.clip(self.positions // (1.4 * anchor + 30), 4, 700))
        chosen = self.order[self.rng.integers(low, high, count)]
        return self.collate(chosen, disturb=True)

    def held_out_batches(self, count: int, size: int = 48) -> list[Batch]:
        """Fixed batches of held-out utterances of the presets."""
        presets = self.data.held_out[self.data.speaker[self.data.held_out] < len(PRESETS)]
        chosen = np.random.default_rng(9).permutation(presets)[: size * count]
        ordered = chosen[np.argsort(self.data.frame_counts[chosen])]
        torch.manual_seed(31)
        return [self.collate(part, disturb=False) for part in np.array_split(ordered, count)]

    def collate(self, utterances: np.ndarray, *, disturb: bool) -> Batch:
        """Prompt + frames of each utterance."""
        d, device = self.data, self.data.device
        u = torch.from_numpy(utterances).to(device)
        frames, texts = d.lengths[u], d.token_count[u]
        if disturb:
            over = self._overruns(len(u))
            voice = torch.randint(self.voice[0], self.voice[1] + 1, (len(u),), device=device)
        else:
            over = torch.zeros_like(frames)
            voice = torch.full((len(u),), sum(self.voice) // 2, device=device)
        donor = d.donors[
            d.donor_first[u] + (torch.rand(len(u), device=device) * d.donor_count[u]).long()
        ]
        offset = (torch.rand(len(u), device=device) * (d.lengths[donor] - voice - 1)).long() + 1
        voice_first = d.starts[donor] + offset
        # positions where each part of the prompt begins, [B, 1]
        after_voice = (3 + voice)[:, None]  # <s>, begin audio, voice, END row
        text = after_voice + 1
        repeat = text + texts[:, None]
        begin = repeat + 2
        end = begin + frames[:, None]
        after = end + over[:, None]
        p = torch.arange(int(after.max()), device=device)[None]
        in_text = (p >= text) & (p < repeat)
        in_voice = (p >= 2) & (p < after_voice - 1)
        is_end_row = p == after_voice - 1
        is_history = (p >= begin) & (p < end)
        ids = torch.full((len(u), p.shape[1]), 0, device=device)
        ids[:, 0], ids[:, 1] = BOS, BEGIN_AUDIO
        ids = torch.where(in_voice | is_end_row, AUDIO, ids)
        ids = torch.where(p == after_voice, NEXT_TEXT, ids)
        token = (d.token_first[u][:, None] + p - text).clamp(0, len(d.tokens) - 1)
        ids = torch.where(in_text, d.tokens[token].long() + SPECIALS, ids)
        ids = torch.where(p == repeat, REPEAT_TEXT, ids)
        ids = torch.where(p == repeat + 1, BEGIN_AUDIO, ids)
        is_code = in_voice | is_end_row | ((p >= begin) & (p < after))
        frame = d.starts[u][:, None] + torch.minimum(p - begin, frames[:, None] - 1)
        source = torch.where(p < begin, voice_first[:, None] + p - 2, frame)
        source = source.clamp(0, len(d.codes) - 1)[is_code]
        values = torch.cat([d.semantic[source, None].long(), d.codes[source].long()], 1)
        history = is_history[is_code]
        values = values + SPECIAL_CODES
        if disturb:
            values = self._disturbed(values, history)
        ends = is_end_row[is_code]
        values[ends] = 0
        values[ends, 0] = END_VALUE
        predicts = (p >= begin - 1) & (p < after)
        where = predicts & (p < end - 1)
        is_end = ~where[predicts]
        target = (d.starts[u][:, None] + p - begin + 1)[where]
        semantic = torch.full_like(is_end, END_VALUE, dtype=torch.long)
        semantic[~is_end] = d.semantic[target].long() + SPECIAL_CODES
        row, position = where.nonzero(as_tuple=True)
        spoken = d.spoken[target].long()
        first_text = text[row, 0]
        key = torch.where(spoken >= 0, first_text + spoken, -1)
        return Batch(
            ids=ids,
            is_token=(p < after) & ~is_code,
            is_code=is_code,
            is_history=history,
            predicts=predicts,
            values=values,
            semantic=semantic,
            is_end=is_end,
            latents=d.codes[target].float() / 10 - 1,
            phonemes=d.labels[target][:, ::2].long(),
            row=row,
            position=position,
            key=key,
            next_key=torch.where(key >= 0, torch.minimum(key + 1, repeat[row, 0] - 1), -1),
        )

    def _overruns(self, count: int) -> Tensor:
        """How often each of `count` utterances repeats its last frame, END being due after each.

        Without it, training has nothing after an END, and a model that missed one says anything.
        """
        device = self.data.device
        some = torch.rand(count, device=device) < OVERRUN_SHARE
        return some * torch.randint(1, LONGEST_OVERRUN + 1, (count,), device=device)

    def _disturbed(self, values: Tensor, history: Tensor) -> Tensor:
        """Some frames of the history are made wrong, as they will be when it runs freely."""
        n, device = len(values), values.device
        noisy = (torch.rand(n, 1, device=device) < NOISY_SHARE) & history[:, None]
        size = torch.rand(n, 1, device=device) * NOISE_LEVELS
        change = (torch.randn(n, values.shape[1] - 1, device=device) * size).round().long()
        low, high = SPECIAL_CODES, SPECIAL_CODES + 20
        acoustic = torch.where(noisy, (values[:, 1:] + change).clamp(low, high), values[:, 1:])
        wrong = (torch.rand(n, device=device) < WRONG_SEMANTIC_SHARE) & history
        other = torch.randint(self.config.codec.semantic_codebook_size, (n,), device=device)
        semantic = torch.where(wrong, other + SPECIAL_CODES, values[:, 0])
        return torch.cat([semantic[:, None], acoustic], 1)
