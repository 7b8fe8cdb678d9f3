"""`flowvox say`."""

from __future__ import annotations

import hashlib
import io
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flowvox.runtime.audio import Audio

DEFAULT_OUTPUT = Path("speech.wav")


def say(
    text: Annotated[str, typer.Argument(help="What to say; '-' reads standard input.")],
    bundle: Annotated[
        Path | None, typer.Option("-b", "--bundle", help="Bundle; the built-in one by default.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("-c", "--checkpoint", help="Run the torch reference instead.")
    ] = None,
    voice: Annotated[str | None, typer.Option("-v", "--voice", help="See flowvox voices.")] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="WAV file; '-' writes it to standard output.")
    ] = DEFAULT_OUTPUT,
    seed: Annotated[int, typer.Option(help="Same seed, same codes.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Flow steps; 7 by default.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance; 1.2 by default.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Stop then, at the latest.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or tensorrt.")] = "auto",
    save_codes: Annotated[
        Path | None, typer.Option(help="Also save the codes, int32 [frames, codebooks].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Synthesize speech."""
    if bundle is not None and checkpoint is not None:
        raise typer.BadParameter("give -b BUNDLE or -c CHECKPOINT, not both")
    to_stdout = str(out) == "-"
    if to_stdout and as_json:
        raise typer.BadParameter("standard output cannot take both the wav and --json")
    if text == "-":
        text = sys.stdin.read()
    options = {"seed": seed, "steps": steps, "guidance": guidance, "max_seconds": max_seconds}
    if checkpoint is not None:
        audio, codes, result = _reference(checkpoint, text, voice, threads, options)
    else:
        audio, codes, result = _bundle(bundle, text, voice, threads, device, options)
    _write(audio, codes, out, save_codes)
    if as_json:
        typer.echo(json.dumps(result))
    elif not to_stdout:
        rtf = f"{result['rtf']:.2f}" if result["rtf"] is not None else "-"
        typer.echo(f"{out}: {audio.seconds:.2f} s of speech, voice {result['voice']}, RTF {rtf}")
    if not result["ended"]:
        print("flowvox: the speech was cut at its limit, see --max-seconds", file=sys.stderr)


def _bundle(
    path: Path | None,
    text: str,
    voice: str | None,
    threads: int | None,
    device: str,
    options: dict[str, Any],
) -> tuple[Audio, NDArray[np.int32], dict[str, Any]]:
    from flowvox.runtime.tts import TTS

    if device not in {"auto", "cpu", "cuda", "tensorrt"}:
        raise typer.BadParameter(f"--device {device}: it is one of auto, cpu, cuda, tensorrt")
    tts = TTS.load(path, device=device, threads=threads)  # type: ignore[arg-type]
    speech = tts.synthesize(text, voice, **options)
    times = (speech.compute_seconds, speech.first_audio_seconds)
    result = _result(speech.audio, speech.codes, speech.ended, speech.voice, options["seed"], times)
    return speech.audio, speech.codes, result


def _reference(
    path: Path, text: str, voice: str | None, threads: int | None, options: dict[str, Any]
) -> tuple[Audio, NDArray[np.int32], dict[str, Any]]:
    from flowvox.cli.extras import needs

    with needs("export"):
        import torch

        from flowvox.reference.speak import ReferenceTTS
    from flowvox.runtime.audio import Audio
    from flowvox.runtime.limits import check_options, frame_budget

    if threads:
        torch.set_num_threads(threads)
    check_options(**options)
    tts = ReferenceTTS.load(path)
    name = voice or next(iter(tts.checkpoint.voices()), "")
    config = tts.model.config
    started = time.perf_counter()
    generation = tts.generate(
        text,
        name,
        seed=options["seed"],
        max_frames=frame_budget(len(text), options["max_seconds"], config),
        **{key: options[key] for key in ("steps", "guidance") if options[key] is not None},
    )
    audio = Audio(tts.decode(generation.codes), config.codec.sampling_rate)
    seconds = time.perf_counter() - started
    codes, ended = generation.codes, generation.ended
    return audio, codes, _result(audio, codes, ended, name, options["seed"], (seconds, seconds))


def _result(
    audio: Audio,
    codes: NDArray[np.int32],
    ended: bool,
    voice: str,
    seed: int,
    times: tuple[float, float],
) -> dict[str, Any]:
    compute, first = times
    return {
        "audio_seconds": audio.seconds,
        "compute_seconds": compute,
        "rtf": compute / audio.seconds if audio.seconds else None,
        "first_audio_seconds": first,
        "frames": len(codes),
        "ended": ended,
        "seed": seed,
        "voice": voice,
        "sample_rate": audio.sample_rate,
        "codes_sha256": hashlib.sha256(codes.astype("<i4").tobytes()).hexdigest(),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _write(audio: Audio, codes: NDArray[np.int32], out: Path, save_codes: Path | None) -> None:
    import numpy as np

    from flowvox.files import write_beside

    if save_codes is not None:
        buffer = io.BytesIO()
        np.save(buffer, codes)
        write_beside(save_codes, buffer.getvalue())
    if str(out) == "-":
        sys.stdout.buffer.write(audio.wav_bytes())
        sys.stdout.buffer.flush()
    else:
        audio.save(out)
