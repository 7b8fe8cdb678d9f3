"""One artifact through the suite: rows of every metric, utterance by utterance.

An utterance that fails is reported and left out; it never ends the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from flowvox.errors import FlowvoxError
from flowvox.eval import codec_level, free_level
from flowvox.eval.artifact import Artifact, Spoken
from flowvox.eval.cache import Arrays, Cache
from flowvox.eval.ears import Ears, Heard
from flowvox.eval.forced import Truth, compare, compare_latents, record_truth
from flowvox.eval.statistics import Rows
from flowvox.eval.suite_data import Part, Suite, Utterance
from flowvox.noise import frame_noise

LAYERED = 4  # utterances whose layers are compared one by one: they are large

SPOKEN_PARTS: tuple[Part, ...] = ("teacher_forced", "codec", "free_running")
Collected = dict[str, dict[str, Rows]]  # rows of a metric -> utterance key -> rows


@dataclass
class Measured:
    """What the levels found. utterances: the table of the report; spoken: free-running, by key."""

    rows: Collected = field(default_factory=dict)
    utterances: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    spoken: dict[str, Spoken] = field(default_factory=dict)

    def add(self, key: str, rows: dict[str, Rows]) -> None:
        """The rows of one utterance."""
        for name, values in rows.items():
            self.rows.setdefault(name, {})[key] = values

    @contextmanager
    def guarded(self, level: str, key: str) -> Iterator[None]:
        """A failure inside belongs to this utterance only."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (onnxruntime's errors share no other base)
            line = (str(error) or type(error).__name__).splitlines()[0]
            self.failures.append({"utterance": key, "error": f"{level}: {line}"})


def speak(artifact: Artifact, utterance: Utterance, limit: float, cache: Cache) -> Spoken:
    """Free-running, at most `limit` seconds; from the cache where it has been spoken before."""
    request = (utterance.sentence.text, utterance.voice, utterance.seed, limit)

    def compute() -> Arrays:
        said = artifact.speak(*request)
        return {"codes": said.codes, "samples": said.samples, "ended": np.array(said.ended)}

    stored = cache.arrays(("speak", artifact.sha256, *request), compute)
    return Spoken(stored["codes"], stored["samples"], bool(stored["ended"]))  # type: ignore[arg-type]


class Measurement:
    """The suite, the baseline and the ears, ready to measure one artifact after another."""

    def __init__(
        self, suite: Suite, baseline: Artifact, cache: Cache, ears: Ears, tick: Callable[[], None]
    ) -> None:
        self.suite, self.baseline, self.cache = suite, baseline, cache
        self.ears, self._tick = ears, tick
        self._heard: list[tuple[Utterance, Heard]] = []
        self._truths: dict[str, Truth] = {}
        self.spoken: dict[str, Spoken] = {}
        self.floor = Measured()
        # Another seed of the suite where there is one: that speech is needed anyway.
        self.floor_seed = (*suite.seeds, suite.seeds[0] + 1)[1]

    def part(self, name: Part) -> Sequence[Utterance]:
        """Utterances of a part of the suite."""
        return self.suite.utterances(name, self.baseline.voices)

    def steps(self, artifacts: int) -> int:
        """How often `measure` ticks in all."""
        return len(self._wanted) + artifacts * sum(len(self.part(name)) for name in SPOKEN_PARTS)

    @property
    def spoken_by_baseline(self) -> tuple[Utterance, ...]:
        """All that it has to say, the noise floor's other seed included."""
        others = {u.key: u for u in map(self._with_floor_seed, self._floor)}
        return tuple((self._wanted | others).values())

    @property
    def _wanted(self) -> dict[str, Utterance]:
        """What the artifacts are compared on."""
        return {u.key: u for part in SPOKEN_PARTS for u in self.part(part)}

    @property
    def _floor(self) -> list[Utterance]:
        """What is said again with another seed: each sentence once where that is speech on top."""
        again = [u for u in self.part("free_running") if u.seed == self.suite.seeds[0]]
        return again if self.floor_seed in self.suite.seeds else again[: len(self.suite.sentences)]

    def _with_floor_seed(self, utterance: Utterance) -> Utterance:
        return replace(utterance, seed=self.floor_seed)

    def measure(self, artifact: Artifact) -> Measured:
        """All levels. Measure the baseline first: the others are compared with what it said."""
        result = Measured()
        if artifact is self.baseline:
            self._baseline_speaks(result)
        for utterance in self.part("teacher_forced"):
            with result.guarded("teacher-forced", utterance.key):
                result.add(utterance.key, self._forced(artifact, utterance))
            self._tick()
        for utterance in self.part("codec"):
            with result.guarded("codec", utterance.key):
                result.add(utterance.key, self._codec(artifact, utterance))
            self._tick()
        for utterance in self.part("free_running"):
            with result.guarded("free-running", utterance.key):
                self._free(artifact, utterance, result)
            self._tick()
        result.rows["length_spread"] = free_level.length_spread(result.spoken)
        return result

    def _baseline_speaks(self, result: Measured) -> None:
        """Everything is compared with this speech; a voice is what it sounds like."""
        wanted = self._wanted
        for key, utterance in wanted.items():
            with result.guarded("free-running", key):
                self.spoken[key] = self._speak(self.baseline, utterance)
            self._tick()
        for key, speech in self.spoken.items():
            with result.guarded("free-running", key):
                self._heard.append((wanted[key], self.ears.listen(speech.samples, self.cache)))
        for utterance in self._floor:
            with result.guarded("noise floor", utterance.key):
                self._against_itself(utterance)

    def _against_itself(self, utterance: Utterance) -> None:
        """The same text and voice with another seed: rows of the noise floor, under the same key."""
        speech = self._speak(self.baseline, self._with_floor_seed(utterance))
        rows = free_level.judge(
            utterance.sentence.text, speech, self._said(utterance),
            self.ears.listen(speech.samples, self.cache), self._voice(utterance),
        )  # fmt: skip
        self.floor.add(utterance.key, rows)

    def _speak(self, artifact: Artifact, utterance: Utterance) -> Spoken:
        return speak(artifact, utterance, self.suite.limits.max_seconds, self.cache)

    def _truth(self, utterance: Utterance) -> Truth:
        if utterance.key not in self._truths:
            self._truths[utterance.key] = self._record(utterance, utterance.seed)
        return self._truths[utterance.key]

    def _record(self, utterance: Utterance, seed: int) -> Truth:
        said = self._said(utterance)
        codes = said.codes[: self.suite.limits.frames]
        ended = said.ended and len(codes) == len(said.codes)
        noise = frame_noise(seed, len(codes) + 1, self.baseline.config.codec.acoustic_dim)
        key = ("truth", self.baseline.sha256, utterance.sentence.text, utterance.voice,
               utterance.seed, seed, self.suite.limits.max_seconds, len(codes))  # fmt: skip

        def compute() -> Arrays:
            text, voice = utterance.sentence.text, utterance.voice
            truth = record_truth(self.baseline, text, voice, codes, ended, noise)
            return {name: np.asarray(value) for name, value in vars(truth).items()}

        stored = self.cache.arrays(key, compute)
        return Truth(**stored | {"ended": bool(stored["ended"])})  # type: ignore[arg-type]

    def _voice(self, utterance: Utterance) -> np.ndarray | None:
        return free_level.voice_centroid(self._heard, utterance)

    def _said(self, utterance: Utterance) -> Spoken:
        if utterance.key not in self.spoken:
            raise FlowvoxError("the baseline failed on this utterance")
        return self.spoken[utterance.key]

    def _forced(self, artifact: Artifact, utterance: Utterance) -> dict[str, Rows]:
        truth = self._truth(utterance)
        if artifact is self.baseline:
            other = self._record(utterance, self.floor_seed)
            levels = self.baseline.config.codec.acoustic_codebook_size
            latents = compare_latents(other.latents, truth.latents, levels)
            self.floor.add(utterance.key, latents)
        text, voice = utterance.sentence.text, utterance.voice
        key = ("forced", artifact.sha256, self.baseline.sha256, text, voice, utterance.seed,
               self.suite.limits.max_seconds, len(truth.codes))  # fmt: skip
        alike = artifact.rotated == self.baseline.rotated
        rows: dict[str, Rows] = self.cache.arrays(  # type: ignore[assignment]
            key, lambda: dict(compare(artifact, text, voice, truth, one_basis=alike))
        )
        if alike and utterance in self.part("teacher_forced")[:LAYERED]:
            ours, base = (self._layers(a, utterance, truth) for a in (artifact, self.baseline))
            energies = [np.square(x).sum((1, 2)) for x in (ours - base, base)]
            rows = rows | {"error_per_layer": np.stack(energies, axis=-1)[None]}
        return rows

    def _layers(self, artifact: Artifact, utterance: Utterance, truth: Truth) -> Rows:
        text, voice = utterance.sentence.text, utterance.voice
        digest = hashlib.sha256(truth.codes.tobytes()).hexdigest()
        stored = self.cache.arrays(
            ("layers", artifact.sha256, text, voice, digest),
            lambda: {"layers": artifact.layers(text, voice, truth.codes)},
        )
        return stored["layers"].astype(np.float64)

    def _codec(self, artifact: Artifact, utterance: Utterance) -> dict[str, Rows]:
        said = self._said(utterance)
        if len(said.codes) == 0:
            return {}
        key = ("codec", artifact.sha256, self.baseline.sha256, utterance.sentence.text,
               utterance.voice, utterance.seed, self.suite.limits.max_seconds,
               *sorted(self.ears.missing))  # fmt: skip

        def compute() -> Arrays:
            reference = self.baseline.decode(said.codes)
            return dict(codec_level.compare(reference, artifact.decode(said.codes), self.ears))

        return self.cache.arrays(key, compute)  # type: ignore[return-value]

    def _free(self, artifact: Artifact, utterance: Utterance, result: Measured) -> None:
        speech = self._speak(artifact, utterance)
        result.spoken[utterance.key] = speech
        heard = self.ears.listen(speech.samples, self.cache)
        rows = free_level.judge(
            utterance.sentence.text, speech, self._said(utterance), heard, self._voice(utterance)
        )  # fmt: skip
        result.add(utterance.key, rows)
        result.utterances.append(free_level.describe(utterance, speech, heard, rows))
