"""The Python API: load a bundle, say a text, or stream it.

A text that fits is one run of the model. Longer ones are split at sentences, and every piece is a run
of its own with the same voice; piece k uses noise seed + k.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.bundle import Bundle
from flowvox.errors import BundleError, PromptError, VoiceError
from flowvox.noise import frame_noise
from flowvox.prompt import FIXED_TOKENS, check_text
from flowvox.runtime.audio import Audio
from flowvox.runtime.codec import CodecStream
from flowvox.runtime.engine import Engine, Run, StageTimes
from flowvox.runtime.limits import check_options, frame_budget
from flowvox.runtime.providers import Device
from flowvox.runtime.sessions import physical_cores
from flowvox.runtime.text import split_text
from flowvox.schedule import Solver, flow_schedule

LONGEST_TEXT = 100_000  # characters; more is a mistake or a book, which is to be fed in chapters
PIECE_CHARACTERS = 300  # of one run: about 20 s of speech, well within the model's training
FIRST_CHUNK, CHUNK = 3, 12  # frames per streamed chunk: the first early, then fewer calls
DEFAULT_BUNDLE = "tiny-int4"


@dataclass(frozen=True)
class Speech:
    """Everything about one synthesis. codes: int32 [frames, 37]; seconds of wall-clock time."""

    audio: Audio
    codes: NDArray[np.int32]
    ended: bool
    voice: str
    times: StageTimes
    first_audio_seconds: float
    compute_seconds: float

    @property
    def codes_sha256(self) -> str:
        """sha256 of the int32 little-endian codes."""
        return hashlib.sha256(self.codes.astype("<i4").tobytes()).hexdigest()


@dataclass(frozen=True)
class _Options:
    seed: int
    solver: Solver
    steps: int
    guidance: float
    max_seconds: float | None


class TTS:
    """A bundle, ready to speak.

    >>> tts = TTS.load("artifacts/tiny-int4")
    >>> tts.say("Hello.", voice="heart", seed=0).save("hello.wav")
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int | None = None) -> None:
        self.bundle, self.config = bundle, bundle.config
        self.engine = Engine(bundle, device, threads or physical_cores())
        self._tokenizer = bundle.tokenizer()

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        device: Device = "auto",
        threads: int | None = None,
        verify: bool = True,
    ) -> TTS:
        """Open a bundle; without a path, the small one that the package carries.

        verify: check the sha256 of every file. Raises BundleError.
        """
        folder = embedded_bundle() if path is None else Path(path)
        return cls(Bundle.open(folder, verify=verify), device, threads)

    from_pretrained = load

    @property
    def voices(self) -> list[str]:
        return self.bundle.voices

    def say(self, text: str, voice: str | None = None, **options: float | str | None) -> Audio:
        """Speak `text`; options as `synthesize`."""
        return self.synthesize(text, voice, **options).audio  # type: ignore[arg-type]

    def stream(
        self, text: str, voice: str | None = None, **options: float | str | None
    ) -> Iterator[Audio]:
        """Audio chunks as soon as they exist; together exactly what `say` returns."""
        chosen = self._options(**options)  # type: ignore[arg-type]
        _, rows = self._voice(voice)
        for samples, _ in self._chunks(
            self._pieces(text, rows), rows, chosen, [], (FIRST_CHUNK, CHUNK)
        ):
            yield Audio(samples, self.config.codec.sampling_rate)

    def synthesize(
        self,
        text: str,
        voice: str | None = None,
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        solver: Solver | None = None,
        max_seconds: float | None = None,
    ) -> Speech:
        """Speak `text` and report codes and times.

        voice: the first one by default; steps, guidance, solver: the bundle's defaults (7, 1.2,
        "euler"); max_seconds: stop then, at the latest; by default a bound scaled by the text.
        Raises PromptError, VoiceError, FlowvoxError.
        """
        started = time.perf_counter()
        options = self._options(seed, steps, guidance, solver, max_seconds)
        name, rows = self._voice(voice)
        runs: list[Run] = []
        codes, samples, first = [], [], 0.0
        chunks = self._chunks(self._pieces(text, rows), rows, options, runs, (FIRST_CHUNK, CHUNK))
        for chunk, frames in chunks:
            first = first or time.perf_counter() - started
            samples.append(chunk)
            codes.append(frames)
        empty = np.zeros((0, self.config.n_codebooks), dtype=np.int32)
        times = StageTimes(
            sum(r.times.backbone for r in runs),
            sum(r.times.flow for r in runs),
            sum(r.times.codec for r in runs),
            sum(r.times.frames for r in runs),
        )
        joined = np.concatenate(samples) if samples else np.zeros(0, dtype=np.float32)
        return Speech(
            audio=Audio(joined, self.config.codec.sampling_rate),
            codes=np.concatenate([empty, *codes]),
            ended=all(run.ended for run in runs),
            voice=name,
            times=times,
            first_audio_seconds=first,
            compute_seconds=time.perf_counter() - started,
        )

    def _options(
        self,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        solver: Solver | None = None,
        max_seconds: float | None = None,
    ) -> _Options:
        defaults = self.bundle.manifest["sampling"]
        steps = defaults["steps"] if steps is None else steps
        guidance = defaults["guidance"] if guidance is None else guidance
        solver = defaults["solver"] if solver is None else solver
        check_options(seed, steps, guidance, max_seconds, solver)
        return _Options(seed, solver, steps, guidance, max_seconds)

    def _voice(self, voice: str | None) -> tuple[str, NDArray[np.float32]]:
        if not self.voices:
            raise VoiceError("this bundle has no voices")
        name = self.voices[0] if voice is None else voice
        return name, self.bundle.voice(name)

    def _pieces(self, text: str, voice_rows: NDArray[np.float32]) -> list[list[int]]:
        """Token ids of each run, checked against the context before anything is computed."""
        if len(check_text(text)) > LONGEST_TEXT:
            raise PromptError(
                f"the text has {len(text)} characters; at most {LONGEST_TEXT}, split it"
            )
        pieces = [self._tokenizer.encode(piece) for piece in split_text(text, PIECE_CHARACTERS)]
        room = self.config.backbone.max_positions - len(voice_rows) - FIXED_TOKENS
        if any(len(ids) >= room for ids in pieces):
            raise PromptError(f"the voice and the text do not fit the context of {room} positions")
        return pieces

    def _chunks(
        self,
        pieces: list[list[int]],
        rows: NDArray[np.float32],
        options: _Options,
        runs: list[Run],
        sizes: tuple[int, int],
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
        """(samples, codes) chunk by chunk; a Run per piece is appended to `runs`."""
        schedule = flow_schedule(options.solver, options.steps, options.guidance)
        left = options.max_seconds
        for index, ids in enumerate(pieces):
            run = Run()
            runs.append(run)
            if left is not None and left * self.config.frame_rate < 0.5:
                return
            prompt = self.engine.embed_prompt(ids, rows)
            budget = frame_budget(len(self._tokenizer.decode(ids)), left, self.config)
            budget = min(budget, self.config.backbone.max_positions - len(prompt))
            noise = frame_noise(options.seed + index, budget, self.config.codec.acoustic_dim)
            codec = CodecStream(self.engine.codec_session, self.config)
            waiting: list[NDArray[np.int32]] = []
            size = sizes[0] if index == 0 else sizes[1]
            for frame in self.engine.frames(prompt, noise, schedule, run):
                waiting.append(frame)
                if len(waiting) >= size:
                    yield self._decode(codec, waiting, run)
                    waiting, size = [], sizes[1]
            if waiting:
                yield self._decode(codec, waiting, run)
            if left is not None:
                left -= run.times.frames / self.config.frame_rate

    @staticmethod
    def _decode(
        codec: CodecStream, frames: list[NDArray[np.int32]], run: Run
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        started = time.perf_counter()
        codes = np.stack(frames)
        samples = codec.decode(codes)
        run.times.codec += time.perf_counter() - started
        return samples, codes


def embedded_bundle() -> Path:
    """The bundle inside the package. Raises BundleError in a checkout where it was not built."""
    path = Path(str(resources.files("flowvox"))) / "data" / DEFAULT_BUNDLE
    if not path.is_dir():
        raise BundleError("this installation carries no bundle of its own; name one with -b BUNDLE")
    return path
