"""Stage `speech`: the teacher speaks the corpus with many voices, in batches of equal length.

Four presets take most of the sentences. The rest is spread over mixtures of other voices, so that the
model learns to take a voice from its prompt. Four voices are never used: they test that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.kokoro import COUNT_SAMPLES, SPACE, Kokoro

PRESETS = {"heart": "af_heart", "emma": "bf_emma", "michael": "am_michael", "george": "bm_george"}
UNSEEN = ("af_nova", "am_puck", "bf_isabella", "bm_lewis")
WHISPERS = ("af_nicole",)
MIXTURES = 400  # speakers besides the presets
PRESET_SHARE = 0.7
FRAME = 1920  # samples of a codec frame
LEAD, TAIL = 3, 7  # counts (25 ms) of silence kept before and after the speech
LABEL_LAG = 2  # counts by which durations come after the sound
LEVEL = 1.35  # brings the teacher's speech to a usual level
SECTION = 16384  # sentences prepared at once
TOKENS_AT_ONCE, COUNTS_AT_ONCE = 24000, 14000
LENGTH_STEP = 4  # utterances are lengthened (by silence) to multiples of so many counts
LONGEST = 640  # counts: 16 s


@dataclass(frozen=True)
class Speech:
    """N utterances. audio int16 [M * FRAME]; per count of 25 ms: phoneme uint8, word int8.

    The audio may end after the first utterances: the others have labels only. starts [N + 1]: first
    frame of each utterance; labels [N + 1]: first count; sentence [N]: row of the corpus; speaker [N]:
    0..3 the presets in order, then mixtures.
    """

    audio: NDArray[np.int16]
    phoneme: NDArray[np.uint8]
    word: NDArray[np.int8]
    starts: NDArray[np.int64]
    labels: NDArray[np.int64]
    sentence: NDArray[np.int64]
    speaker: NDArray[np.int64]

    @property
    def audible(self) -> int:
        """How many utterances have samples; the others have labels only."""
        return int(np.searchsorted(self.starts, len(self.audio) // FRAME, "right")) - 1

    @classmethod
    def load(cls, folder: Path) -> Speech:
        """Mapped arrays of `speak`."""
        return cls(
            **{f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(cls)}
        )

    def save(self, folder: Path) -> None:
        """One .npy file for each field."""
        folder.mkdir(parents=True, exist_ok=True)
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name))


@dataclass(frozen=True)
class Cast:
    """Who says what: styles [speakers, 510, 256]; speaker [N] for each sentence of the corpus."""

    styles: Tensor
    speaker: NDArray[np.int64]


def cast(corpus: Corpus, styles: dict[str, Tensor], seed: int) -> Cast:
    """Presets for PRESET_SHARE of the sentences in their accent, mixtures of others for the rest."""
    rng = np.random.default_rng(seed)
    british_of = {name: voice[0] == "b" for name, voice in PRESETS.items()}
    tables = [styles[voice] for voice in PRESETS.values()]
    accents = list(british_of.values())
    for i in range(MIXTURES):
        british = bool(i % 3 == 0)
        pool = [
            name
            for name in styles
            if name[0] == ("b" if british else "a") and name not in {*UNSEEN, *WHISPERS}
        ]
        chosen = rng.choice(pool, size=min(len(pool), int(rng.integers(1, 4))), replace=False)
        shares = rng.dirichlet(np.ones(len(chosen)))
        mixed = [float(s) * styles[str(name)] for s, name in zip(shares, chosen, strict=True)]
        tables.append(torch.stack(mixed).sum(0))
        accents.append(british)
    speaker = np.empty(len(corpus), np.int64)
    for british in (False, True):
        here = np.flatnonzero(corpus.british == british)
        able = np.array([i for i, accent in enumerate(accents) if accent == british])
        presets, mixtures = able[able < len(PRESETS)], able[able >= len(PRESETS)]
        preset = rng.random(len(here)) < PRESET_SHARE
        speaker[here] = np.where(
            preset, rng.choice(presets, len(here)), rng.choice(mixtures, len(here))
        )
    return Cast(torch.stack(tables), speaker)


def batches(lengths: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Indices grouped by equal length; a batch holds at most `most` in all."""
    order = np.argsort(lengths, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    parts = []
    for group in groups:
        size = max(1, most // max(1, int(lengths[group[0]])))
        parts += [group[i : i + size] for i in range(0, len(group), size)]
    return parts


def trimmed(counts: NDArray[np.int64]) -> tuple[int, int]:
    """(counts cut at the head, counts kept): LEAD and TAIL of silence stay around the speech."""
    head = max(0, int(counts[0]) - LEAD - LABEL_LAG)
    total = int(counts.sum())
    silence = int(counts[-2:].sum())  # full stop and the closing token
    return head, total - head - max(0, silence - TAIL)


@torch.inference_mode()
def speak(
    work: Path, kokoro: Kokoro, styles: dict[str, Tensor], seconds: float, device: str
) -> None:
    """Speak sentences in the corpus' order for about `seconds`; writes `work`/speech."""
    corpus = Corpus.load(work / "corpus.npz")
    actors = cast(corpus, styles, seed=3)
    kokoro = kokoro.to(device).eval()
    first = np.cumsum(corpus.phoneme_counts) - corpus.phoneme_counts
    tables = actors.styles.to(device)
    stop = time.monotonic() + seconds
    done: list[tuple[int, NDArray[np.int16], NDArray[np.int64]]] = []
    for begin in range(0, len(corpus), SECTION):
        rows = np.arange(begin, min(begin + SECTION, len(corpus)))
        done += _section(corpus, actors, tables, kokoro, first, rows, device, stop)
        spoken = sum(len(audio) for _, audio, _ in done) / 24000 / 3600
        left = stop - time.monotonic()
        print(f"speech: {len(done)} utterances, {spoken:.2f} h, {left:.0f} s left", flush=True)
        if left < 0:
            break
    _gather(corpus, actors, first, done).save(work / "speech")


def _section(
    corpus: Corpus, actors: Cast, tables: Tensor, kokoro: Kokoro, first: NDArray[np.int64],
    rows: NDArray[np.int64], device: str, stop: float,
) -> list[tuple[int, NDArray[np.int16], NDArray[np.int64]]]:  # fmt: skip
    """(sentence, samples, counts) of the sentences `rows`; gives up the rest when time is over."""
    prepared: list[tuple[int, Tensor, Tensor, Tensor, Tensor]] = []
    for part in batches(corpus.phoneme_counts[rows], TOKENS_AT_ONCE):
        chosen, length = rows[part], int(corpus.phoneme_counts[rows[part[0]]])
        ids = np.stack([corpus.phonemes[first[i] : first[i] + length] for i in chosen])
        tokens = torch.from_numpy(ids.astype(np.int64)).to(device)
        who = torch.from_numpy(actors.speaker[chosen]).to(device)
        style = tables[who, min(length - 2, tables.shape[1] - 1)]
        counts, prosody, text = kokoro.prepare(tokens, style)
        totals = counts.sum(1)
        counts[:, -1] += -totals % LENGTH_STEP
        for i, row in enumerate(chosen):
            prepared.append((int(row), counts[i], prosody[i].half(), text[i].half(), style[i]))
    lengths = torch.stack([p[1].sum() for p in prepared]).cpu().numpy()
    done = []
    for part in batches(lengths, COUNTS_AT_ONCE):
        if lengths[part[0]] > LONGEST:
            continue
        if time.monotonic() > stop:
            break
        chosen_rows = [prepared[i] for i in part]
        prosody, text = (
            torch.stack([p[k].repeat_interleave(p[1], 0) for p in chosen_rows]).float()
            for k in (2, 3)
        )
        audio = kokoro.synthesize(prosody, text, torch.stack([p[4] for p in chosen_rows]))
        pcm = (audio * (LEVEL * 32767)).clamp(-32767, 32767).short().cpu().numpy()
        done += [
            (p[0], samples, p[1].cpu().numpy()) for p, samples in zip(chosen_rows, pcm, strict=True)
        ]
    return done


def _gather(
    corpus: Corpus, actors: Cast, first: NDArray[np.int64],
    done: list[tuple[int, NDArray[np.int16], NDArray[np.int64]]],
) -> Speech:  # fmt: skip
    audio: list[NDArray[np.int16]] = []
    phoneme: list[NDArray[np.integer]] = []
    word: list[NDArray[np.integer]] = []
    starts, labels = [0], [0]
    for sentence, samples, counts in done:
        begin = first[sentence]
        ids = corpus.phonemes[begin : begin + corpus.phoneme_counts[sentence]]
        head, kept = trimmed(counts)
        head_samples = head * COUNT_SAMPLES
        frames = -(-kept * COUNT_SAMPLES // FRAME)
        cut = samples[head_samples : head_samples + kept * COUNT_SAMPLES]
        audio.append(np.pad(cut, (0, frames * FRAME - len(cut))))
        words = np.cumsum(ids == SPACE)
        if words[-1] + 1 != corpus.words[sentence]:
            words = np.full(len(ids), -1)
        shift = head + LABEL_LAG
        need = frames * FRAME // COUNT_SAMPLES + 1
        for labels_of, values in ((phoneme, ids), (word, words)):
            row = np.repeat(values, counts)[shift : shift + need]
            labels_of.append(np.pad(row, (0, need - len(row)), mode="edge"))
        starts.append(starts[-1] + frames)
        labels.append(labels[-1] + need)
    sentences = np.array([sentence for sentence, _, _ in done])
    return Speech(
        audio=np.concatenate(audio),
        phoneme=np.concatenate(phoneme).astype(np.uint8),
        word=np.concatenate(word).astype(np.int8),
        starts=np.array(starts),
        labels=np.array(labels),
        sentence=sentences,
        speaker=actors.speaker[sentences],
    )
