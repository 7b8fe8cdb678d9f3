"""The cheap level of a sweep: the flow head alone, over teacher-forced hidden states and given noise.

Every setting integrates the same frames of the same artifact; what differs is the setting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowvox.eval.artifact import Artifact, Codes, Floats, Spoken, with_sampling
from flowvox.eval.cache import Arrays, Cache
from flowvox.eval.forced import compare_latents
from flowvox.eval.statistics import STATISTICS, Interval, Rows, bootstrap
from flowvox.eval.suite_data import Utterance
from flowvox.noise import frame_noise
from flowvox.schedule import Sampling

FINE = Sampling("midpoint", 32)  # 64 evaluations: nearly the exact solution


@dataclass(frozen=True)
class Frames:
    """What the flow head of one artifact is given; ends: where each utterance ends in the rows.

    hidden: [N, dim]; noise, other_noise: [N, n], of the utterances' seed and of another one.
    """

    hidden: Floats
    noise: Floats
    other_noise: Floats
    ends: list[int]


@dataclass(frozen=True)
class Screened:
    """A setting against "full" of the same artifact.

    same_level: acoustic codes that round to the same FSQ level; snr: energy of full's latents over
    that of the difference, dB; fine_snr: the same against FINE; joint: same_level against the
    baseline artifact's full.
    """

    same_level: Interval
    snr: float
    fine_snr: float
    joint: float

    def to_dict(self) -> dict[str, float | None]:
        """JSON form; an unbounded interval has null ends."""
        ends = (x if np.isfinite(x) else None for x in (self.same_level.low, self.same_level.high))
        low, high = ends
        return {
            "same_level": self.same_level.value,
            "low": low,
            "high": high,
            "snr": self.snr,
            "fine_snr": self.fine_snr,
            "joint": self.joint,
        }


def frames_of(
    artifact: Artifact,
    said: Sequence[tuple[Utterance, Spoken]],
    limit: int,
    other_seed: int,
    cache: Cache,
) -> Frames:
    """Hidden states over what the baseline said, at most `limit` frames of each utterance."""
    hidden: list[Floats] = []
    noise: list[tuple[Floats, Floats]] = []
    width = artifact.config.codec.acoustic_dim
    for utterance, speech in said:
        codes, text, voice = speech.codes[:limit], utterance.sentence.text, utterance.voice
        digest = hashlib.sha256(codes.tobytes()).hexdigest()

        def compute(text: str = text, voice: str = voice, codes: Codes = codes) -> Arrays:
            return {"hidden": artifact.hidden_states(text, voice, codes)}

        stored = cache.arrays(("hidden", artifact.sha256, text, voice, digest), compute)
        hidden.append(stored["hidden"].astype(np.float32))
        rows = len(hidden[-1])
        seeds = utterance.seed, other_seed
        noise.append(tuple(frame_noise(seed, rows, width) for seed in seeds))  # type: ignore[arg-type]
    own, other = (np.concatenate(side) for side in zip(*noise, strict=True))
    ends = np.cumsum([len(rows) for rows in hidden]).tolist()
    return Frames(np.concatenate(hidden), own, other, ends)


class Screen:
    """One artifact's frames under any setting.

    full: latents [N, n] with the artifact's own sampling; baseline_full: those of the baseline
    artifact, where it is another one.
    """

    def __init__(self, artifact: Artifact, frames: Frames, cache: Cache) -> None:
        self.artifact, self.frames, self._cache = artifact, frames, cache
        self.full = self.baseline_full = self._latents(artifact.sampling, frames.noise)
        self._fine = self._latents(FINE, frames.noise)

    def of(self, setting: Sampling) -> Screened:
        """How far the setting leads from "full"."""
        return self._compare(self._latents(setting, self.frames.noise))

    def of_another_seed(self) -> Screened:
        """The noise floor: full with other noise against full."""
        return self._compare(self._latents(self.artifact.sampling, self.frames.other_noise))

    def _compare(self, latents: Floats) -> Screened:
        full, fine, baseline = (
            self._rows(latents, other) for other in (self.full, self._fine, self.baseline_full)
        )
        mean, decibels = STATISTICS["mean"], STATISTICS["decibels"]
        return Screened(
            bootstrap([rows["fsq_exact"] for rows in full], None, mean),
            decibels(np.concatenate([rows["latent_snr"] for rows in full])),
            decibels(np.concatenate([rows["latent_snr"] for rows in fine])),
            mean(np.concatenate([rows["fsq_exact"] for rows in baseline])),
        )

    def _rows(self, ours: Floats, other: Floats) -> list[dict[str, Rows]]:
        levels = self.artifact.config.codec.acoustic_codebook_size
        pairs = (np.split(x, self.frames.ends[:-1]) for x in (ours, other))
        return [compare_latents(a, b, levels) for a, b in zip(*pairs, strict=True)]

    def _latents(self, setting: Sampling, noise: Floats) -> Floats:
        artifact, hidden = with_sampling(self.artifact, setting), self.frames.hidden
        digest = hashlib.sha256(hidden.tobytes() + noise.tobytes()).hexdigest()
        stored = self._cache.arrays(
            ("latents", artifact.sha256, digest),
            lambda: {"latents": artifact.latents(hidden, noise)},
        )
        return stored["latents"].astype(np.float32)
