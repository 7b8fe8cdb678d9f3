"""The Python API: load a bundle, say a text, or stream it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from flowvox.bundle import Bundle
from flowvox.embedded import embedded_bundle
from flowvox.machine import cores
from flowvox.presets import Quality
from flowvox.runtime.audio import Audio
from flowvox.runtime.codec import CodecStream
from flowvox.runtime.engine import Engine, Run
from flowvox.runtime.limits import SamplingOptions, check_options, check_threads, choose_sampling
from flowvox.runtime.plan import Budget, Piece, chunk_sizes, plan
from flowvox.runtime.prepack import try_prepack
from flowvox.runtime.providers import CPU, Device, choose_providers, settled
from flowvox.runtime.speech import Speech, StageTimes
from flowvox.schedule import Sampling

__all__ = ["TTS", "Options", "Speech"]


class Options(SamplingOptions, total=False):
    """Keyword options of `say`, `stream` and `synthesize`; those left out have the defaults of `load`.

    seed: of the noise, default 0; max_seconds: stop then, at the latest; by default a bound scaled by
    the text; quality, steps, guidance and the rest of the flow's sampling: see SamplingOptions.
    """

    seed: int
    max_seconds: float | None


@dataclass
class _Job:
    """One checked request. runs: those begun so far."""

    voice: str
    rows: NDArray[np.float32]
    pieces: list[Piece]
    schedule: NDArray[np.float32]
    budget: Budget
    runs: list[Run] = field(default_factory=list)


class TTS:
    """A bundle, ready to speak.

    >>> tts = TTS.load("artifacts/tiny-int4")
    >>> tts.say("Hello.", voice="heart", seed=0).save("hello.wav")
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device = "auto",
        threads: int | None = None,
        quality: Quality | None = None,
    ) -> None:
        self.bundle, self.config = bundle, bundle.config
        defaults = bundle.manifest["sampling"]
        published = Sampling(defaults["solver"], defaults["steps"], defaults["guidance"])
        self.sampling = choose_sampling(published, quality=quality)
        self._tokenizer = bundle.tokenizer()
        threads = cores() if threads is None else check_threads(threads)
        self.engine = Engine(bundle, device, threads)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        device: Device = "auto",
        threads: int | None = None,
        quality: Quality | None = None,
        verify: bool = True,
        prepack: bool = False,
    ) -> TTS:
        """Open a bundle; without a path, the small one that the package carries.

        device: "auto" (CUDA where it is and the bundle computes in float16, else the CPU), "cpu",
        "cuda", "cuda-graph" (the backbone's steps captured) or "tensorrt" (for the codec); threads:
        one per physical core by default; quality: "fast", "balanced" or "full" where a request names
        none (the bundle's own default is the published setting, as "full"); verify: check the sha256
        of every file; prepack: on the CPU, lay the weights out for this processor in the user's cache
        folder, where that is not done yet (twice the bundle's size; a warning where it fails). Raises
        BundleError, FlowvoxError.
        """
        folder = embedded_bundle() if path is None else Path(path)
        bundle = Bundle.open(folder, verify=verify)
        device = settled(device, bundle.manifest["recipe"])
        if prepack and choose_providers(device) == [CPU]:
            try_prepack(bundle)
        return cls(bundle, device, threads, quality)

    from_pretrained = load

    @property
    def voices(self) -> list[str]:
        return self.bundle.voices

    def say(self, text: str, voice: str | None = None, **options: Unpack[Options]) -> Audio:
        """Speak `text`; raises as `synthesize`."""
        return self.synthesize(text, voice, **options).audio

    def stream(
        self, text: str, voice: str | None = None, **options: Unpack[Options]
    ) -> Iterator[Audio]:
        """Audio chunks as soon as they exist; together exactly what `say` returns.

        Bad input is refused at the call, not at the first chunk; raises as `synthesize`.
        """
        job = self._job(text, voice, **options)
        rate = self.config.codec.sampling_rate
        return (Audio(samples, rate) for samples, _ in self._chunks(job))

    def synthesize(self, text: str, voice: str | None = None, **options: Unpack[Options]) -> Speech:
        """Speak `text` and report codes and times. voice: None for the first one.

        Raises PromptError (no text, or too much), VoiceError (naming the voices), FlowvoxError (an
        option out of range), BundleError (the model gives values that are not finite).
        """
        started, first = time.perf_counter(), 0.0
        job = self._job(text, voice, **options)
        samples = [np.zeros(0, dtype=np.float32)]
        codes = [np.zeros((0, self.config.n_codebooks), dtype=np.int32)]
        for chunk, frames in self._chunks(job):
            first = first or time.perf_counter() - started
            samples.append(chunk)
            codes.append(frames)
        return Speech(
            audio=Audio(np.concatenate(samples), self.config.codec.sampling_rate),
            codes=np.concatenate(codes),
            ended=len(job.runs) == len(job.pieces) and all(run.ended for run in job.runs),
            voice=job.voice,
            times=sum((run.times for run in job.runs), StageTimes()),
            first_audio_seconds=first,
            compute_seconds=time.perf_counter() - started,
        )

    def _job(
        self,
        text: str,
        voice: str | None = None,
        seed: int = 0,
        max_seconds: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> _Job:
        """Check everything before anything is computed."""
        check_options(seed, max_seconds)
        schedule = choose_sampling(self.sampling, **options).schedule()
        name = self.bundle.default_voice if voice is None else voice
        rows = self.bundle.voice(name)
        pieces = plan(text, self._tokenizer, self.config, len(rows))
        return _Job(name, rows, pieces, schedule, Budget(pieces, seed, max_seconds, self.config))

    def _chunks(self, job: _Job) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
        """(samples, codes [F, 37]) chunk by chunk; a Run per piece is appended to the job."""
        sizes = chunk_sizes()
        size = next(sizes)
        for piece in job.pieces:
            noise = job.budget.rows(piece)
            if len(noise) == 0:
                return
            run = Run()
            job.runs.append(run)
            prompt = self.engine.embed_prompt(piece.ids, job.rows)
            codec = CodecStream(self.engine.codec_session)
            waiting: list[NDArray[np.int32]] = []
            for frame in self.engine.frames(prompt, noise, job.schedule, run):
                waiting.append(frame)
                if len(waiting) >= size:
                    yield _decode(codec, waiting, run)
                    waiting, size = [], next(sizes)
            if waiting:
                yield _decode(codec, waiting, run)
            job.budget.spend(run.times.frames)


def _decode(
    codec: CodecStream, frames: list[NDArray[np.int32]], run: Run
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    started = time.perf_counter()
    codes = np.stack(frames)
    samples = codec.decode(codes)
    run.times.codec += time.perf_counter() - started
    return samples, codes
