"""What a suite says: sentences, the utterances of each part of an evaluation, their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from flowvox.errors import FlowvoxError

Part = Literal["teacher_forced", "codec", "free_running", "speed"]
PARTS: tuple[Part, ...] = ("teacher_forced", "codec", "free_running", "speed")
Count = int | Literal["all"]


class SuiteError(FlowvoxError):
    """A suite is unknown or malformed, or asks for voices that are not there."""


@dataclass(frozen=True)
class Sentence:
    """One text. group: the kind of text, as reports list it; tags: finer kinds within a group.

    The tag `digits` marks texts with figures, which a recognizer may spell in another way.
    voices: those that say it; none named: all of the suite.
    """

    id: str
    text: str
    tags: tuple[str, ...]
    group: str
    voices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """max_seconds: where free-running speech is cut; frames: most teacher-forced ones an utterance.

    The rest: most utterances of each part, "all" or a number.
    """

    max_seconds: float
    frames: int
    teacher_forced: Count
    codec: Count
    free_running: Count
    speed: Count


@dataclass(frozen=True)
class Utterance:
    """A sentence, said by a voice with the noise of a seed: what paired differences pair."""

    sentence: Sentence
    voice: str
    seed: int

    @property
    def key(self) -> str:
        """The same for the same utterance of every bundle, for instance "plain-01/heart/0"."""
        return f"{self.sentence.id}/{self.voice}/{self.seed}"


@dataclass(frozen=True)
class Suite:
    """See the module. sha256: of the file, in hexadecimal."""

    name: str
    version: int
    description: str
    sentences: tuple[Sentence, ...]
    voices: tuple[str, ...] | Literal["all"]
    seeds: tuple[int, ...]
    limits: Limits
    sha256: str

    def utterances(self, part: Part, available: Sequence[str]) -> tuple[Utterance, ...]:
        """What `part` measures with the voices `available`, in an order that depends on nothing else.

        Free-running speech has every seed, the other parts only the first. Where the limit cuts the
        list, what is left has every group in turn, voices alternating, before a sentence comes again
        in another voice. Raises SuiteError if a voice is missing.
        """
        named = available if self.voices == "all" else self.voices
        needed = [*named, *(voice for s in self.sentences for voice in s.voices)]
        for voice in needed:
            if voice not in available:
                raise SuiteError(
                    f"suite {self.name} needs the voice {voice}; there are {', '.join(available)}"
                )
        seeds = self.seeds if part == "free_running" else self.seeds[:1]
        turns = [(s, s.voices or tuple(named), shift) for s, shift in self._in_turn()]
        found = [
            Utterance(sentence, voices[(shift + lap) % len(voices)], seed)
            for lap in range(max((len(voices) for _, voices, _ in turns), default=0))
            for sentence, voices, shift in turns
            if lap < len(voices)
            for seed in seeds
        ]
        limit: Count = getattr(self.limits, part)
        return tuple(found if limit == "all" else found[:limit])

    def with_seeds(self, listed: str) -> Suite:
        """The same suite with other seeds, as many as it has: "2,3". Raises SuiteError."""
        seeds = [part.strip() for part in listed.split(",")]
        if not all(part.isdecimal() and int(part) < 1 << 64 for part in seeds):
            raise SuiteError(f"seeds should be whole numbers such as 2,3; {listed!r} is not")
        if len(set(map(int, seeds))) != len(self.seeds):
            raise SuiteError(f"suite {self.name} has {len(self.seeds)} seeds; name as many")
        return replace(self, seeds=tuple(map(int, seeds)))

    def at_most(self, count: int) -> Suite:
        """The same suite with no part larger than `count` utterances (of whole sets of seeds)."""
        limits = {
            part: count if limit == "all" else min(count, limit)
            for part in PARTS
            for limit in [getattr(self.limits, part)]
        }
        limits["free_running"] = max(1, limits["free_running"] // len(self.seeds)) * len(self.seeds)
        return replace(self, limits=replace(self.limits, **limits))

    def _in_turn(self) -> list[tuple[Sentence, int]]:
        """The first sentence of every group, the second ..., each with the voice it begins with.

        That voice alternates within a group and among groups, else a group could meet but one.
        """
        groups = list(dict.fromkeys(sentence.group for sentence in self.sentences))
        members = [[s for s in self.sentences if s.group == group] for group in groups]
        return [
            (sentence, rank + place)
            for rank, row in enumerate(zip_longest(*members))
            for place, sentence in enumerate(row)
            if sentence is not None
        ]
