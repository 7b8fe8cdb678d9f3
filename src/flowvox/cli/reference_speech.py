"""What `flowvox say -c` runs: the torch reference, with the plan and noise of the runtime."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from flowvox.cli.extras import needs
from flowvox.errors import VoiceError

if TYPE_CHECKING:
    from flowvox.runtime.limits import SamplingOptions
    from flowvox.runtime.speech import Speech


def speak(
    path: Path,
    text: str,
    voice: str | None,
    threads: int | None,
    seed: int,
    max_seconds: float | None,
    options: SamplingOptions,
) -> Speech:
    """Speak with a checkpoint or GGUF file; the codes are those of its fp32 bundle.

    Raises FlowvoxError as `flowvox.runtime.tts.TTS.synthesize`; MissingPackageError without torch.
    """
    with needs("export"):
        import torch

        from flowvox.reference.generate import generate
        from flowvox.reference.model import load_model
        from flowvox.reference.speak import ReferenceTTS, embed_prompt
    import numpy as np

    from flowvox.cli.artifact import open_source
    from flowvox.runtime.audio import Audio
    from flowvox.runtime.limits import check_options, check_threads, choose_sampling
    from flowvox.runtime.plan import Budget, plan
    from flowvox.runtime.speech import Speech, StageTimes
    from flowvox.schedule import Sampling

    check_options(seed, max_seconds)
    sampling = choose_sampling(Sampling(), **options)
    if threads is not None:
        torch.set_num_threads(check_threads(threads))
    source = open_source(path)
    tts = ReferenceTTS(source, load_model(source))
    config, voices = tts.model.config, list(tts.checkpoint.voices())
    if not voices:
        raise VoiceError(f"{path}: has no voices")
    name = voice or next((v for v in config.voices if v in voices), voices[0])

    started = time.perf_counter()
    rows = len(tts.checkpoint.voice(name))
    pieces = plan(text, source.tokenizer(), config, rows)
    budget = Budget(pieces, seed, max_seconds, config)
    samples, codes, ended = [], [], []
    for piece in pieces:
        noise = budget.rows(piece)
        if len(noise) == 0:
            break
        generation = generate(
            tts.model,
            embed_prompt(tts.model, tts.checkpoint, piece.text, name),
            torch.from_numpy(noise),
            sampling,
        )
        budget.spend(len(generation.codes))
        samples.append(tts.decode(generation.codes))
        codes.append(generation.codes)
        ended.append(generation.ended)
    seconds = time.perf_counter() - started
    return Speech(
        audio=Audio(np.concatenate(samples), config.codec.sampling_rate),
        codes=np.concatenate(codes),
        ended=len(ended) == len(pieces) and all(ended),
        voice=name,
        times=StageTimes(frames=sum(len(frames) for frames in codes)),
        first_audio_seconds=seconds,
        compute_seconds=seconds,
    )
