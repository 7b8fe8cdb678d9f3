"""`flowvox say`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flowvox.runtime.limits import SamplingOptions
    from flowvox.runtime.speech import Speech

DEFAULT_OUTPUT = Path("speech.wav")
STANDARD_OUTPUT = Path("-")


def say(
    text: Annotated[str, typer.Argument(help="What to say; '-' reads standard input.")],
    bundle: Annotated[
        Path | None, typer.Option("-b", "--bundle", help="Bundle; the built-in one by default.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("-c", "--checkpoint", help="Run a checkpoint or GGUF file in torch."),
    ] = None,
    voice: Annotated[str | None, typer.Option("-v", "--voice", help="See flowvox voices.")] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="WAV file; '-' writes it to standard output.")
    ] = DEFAULT_OUTPUT,
    seed: Annotated[int, typer.Option(help="Same seed, same codes.")] = 0,
    quality: Annotated[
        Literal["fast", "balanced", "full"] | None,
        typer.Option(help="Evaluations of the flow; full, as published, by default."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Flow steps; 7 by default.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance; 1.2 by default.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Stop then, at the latest.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; one per core.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "cuda-graph", "tensorrt"],
        typer.Option(help="What runs a bundle."),
    ] = "auto",
    save_codes: Annotated[
        Path | None, typer.Option(help="Also save the codes, int32 [frames, codebooks].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Synthesize speech."""
    if bundle is not None and checkpoint is not None:
        raise typer.BadParameter("give -b BUNDLE or -c CHECKPOINT, not both")
    if out == STANDARD_OUTPUT and as_json:
        raise typer.BadParameter("standard output cannot take both the wav and --json")
    from flowvox.files import check_output

    if save_codes in (out, STANDARD_OUTPUT):
        raise typer.BadParameter("--save-codes needs a file of its own")
    for path in (out, save_codes):
        if path is not None and path != STANDARD_OUTPUT:
            check_output(path)
    if text == "-":
        text = _standard_input()
    options: SamplingOptions = {"quality": quality, "steps": steps, "guidance": guidance}
    if checkpoint is not None:
        from flowvox.cli.reference_speech import speak

        speech = speak(checkpoint, text, voice, threads, seed, max_seconds, options)
    else:
        from flowvox.runtime.tts import TTS

        tts = TTS.load(bundle, device=device, threads=threads)
        speech = tts.synthesize(text, voice, seed=seed, max_seconds=max_seconds, **options)
    _write(speech, out, save_codes)
    if as_json:
        typer.echo(json.dumps(_result(speech, seed)))
    elif out != STANDARD_OUTPUT:
        rtf = f"{speech.rtf:.2f}" if speech.rtf is not None else "-"
        typer.echo(
            f"{out}: {speech.audio.seconds:.2f} s of speech, voice {speech.voice}, RTF {rtf}"
        )
    if not speech.ended:
        print("flowvox: the speech was cut at its limit, see --max-seconds", file=sys.stderr)


def _standard_input() -> str:
    """All of it as UTF-8, without the line ends that `echo` and editors add."""
    if sys.stdin is None:  # closed: `flowvox say - <&-`
        raise typer.BadParameter("standard input is closed; give the text as an argument")
    return sys.stdin.buffer.read().decode("utf-8", errors="replace").rstrip("\r\n")


def _result(speech: Speech, seed: int) -> dict[str, object]:
    from flowvox.machine import peak_rss_bytes

    return {
        "audio_seconds": speech.audio.seconds,
        "compute_seconds": speech.compute_seconds,
        "rtf": speech.rtf,
        "first_audio_seconds": speech.first_audio_seconds,
        "frames": len(speech.codes),
        "ended": speech.ended,
        "seed": seed,
        "voice": speech.voice,
        "sample_rate": speech.audio.sample_rate,
        "codes_sha256": speech.codes_sha256,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _write(speech: Speech, out: Path, save_codes: Path | None) -> None:
    from flowvox.files import write_beside

    if out == STANDARD_OUTPUT:
        sys.stdout.buffer.write(speech.audio.wav_bytes())
        sys.stdout.buffer.flush()
    else:
        speech.audio.save(out)
    if save_codes is not None:
        write_beside(save_codes, _npy(speech.codes))


def _npy(codes: NDArray[np.int32]) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, codes)
    return buffer.getvalue()
