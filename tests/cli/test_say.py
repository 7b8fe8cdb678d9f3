"""`flowvox say`: what it writes, where, and what it refuses."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.cli.command import Command, overwrite

from flowvox.presets import QUALITIES

LONG = "This is a sentence of forty characters. " * 40


def test_json_has_the_promised_keys(run: Command, bundle: Path, folder: Path) -> None:
    result = run.json(
        "say", "Hello.", "-b", bundle, "-o", "a.wav", "-v", "second", "--seed", 3,
        "--max-seconds", 1, "--save-codes", "c.npy", "--threads", 1,
    )  # fmt: skip
    assert set(result) == {
        "audio_seconds", "compute_seconds", "rtf", "first_audio_seconds", "frames", "ended", "seed",
        "voice", "sample_rate", "codes_sha256", "peak_rss_bytes",
    }  # fmt: skip
    saved = np.load("c.npy")
    assert saved.dtype == np.int32
    assert saved.shape == (result["frames"], 6)
    assert (result["voice"], result["seed"]) == ("second", 3)
    assert Path("a.wav").stat().st_size > 44


def test_wav_to_stdout_and_text_from_stdin(bundle: Path) -> None:
    command = [sys.executable, "-m", "flowvox", "say", "-", "-b", str(bundle), "-o", "-"]
    done = subprocess.run(
        [*command, "--max-seconds", "1"], input=b"Hello.", capture_output=True, check=True
    )
    assert done.stdout[:4] == b"RIFF"


def test_without_a_name_it_writes_speech_wav(run: Command, bundle: Path, folder: Path) -> None:
    status, out, _ = run("say", "Hello.", "-b", bundle, "--max-seconds", 0.5)
    assert status == 0
    assert out.startswith("speech.wav: 0.")
    assert [p.name for p in folder.iterdir()] == ["speech.wav"]


@pytest.mark.parametrize("text", ["Hello.", f" {LONG[:500]}", LONG])
def test_reference_and_fp32_bundle_say_the_same_codes(
    run: Command, bundle: Path, random_micro: Path, folder: Path, text: str
) -> None:
    """Edges of the text and pieces of a long one included."""
    saved = []
    for source in (("-b", bundle), ("-c", random_micro)):
        result = run.json("say", text, *source, "--seed", 3, "--save-codes", "c.npy")
        saved.append((np.load("c.npy").tolist(), result["ended"], result["voice"]))
    assert saved[0] == saved[1]


@pytest.mark.parametrize("quality", QUALITIES)
def test_quality_is_the_same_for_a_bundle_and_for_the_reference(
    run: Command, bundle: Path, random_micro: Path, folder: Path, quality: str
) -> None:
    arguments = ("--seed", 3, "--max-seconds", 1, "--quality", quality)
    found = [
        run.json("say", "Hello.", *source, *arguments)["codes_sha256"]
        for source in (("-b", bundle), ("-c", random_micro))
    ]
    assert found[0] == found[1]
    default = run.json("say", "Hello.", "-b", bundle, "--seed", 3, "--max-seconds", 1)
    assert (found[0] == default["codes_sha256"]) == (quality == "full")


def test_steps_and_guidance_override_the_quality(run: Command, bundle: Path, folder: Path) -> None:
    arguments = ("say", "Hello.", "-b", bundle, "--seed", 3, "--max-seconds", 1)
    changes = [(), ("--steps", 1), ("--guidance", 3)]
    found = [run.json(*arguments, "--quality", "fast", *c)["codes_sha256"] for c in changes]
    assert len(set(found)) == 3


def test_text_from_standard_input_is_the_text_without_the_last_line_end(
    run: Command, bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("-b", bundle, "--max-seconds", 0.5)
    expected = run.json("say", "Hello.", *arguments)["codes_sha256"]
    for content in (b"Hello.", b"Hello.\n", b"Hello.\r\n"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        assert run.json("say", "-", *arguments)["codes_sha256"] == expected


def test_closed_standard_input(
    run: Command, bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    run.refused("standard input is closed", "say", "-", "-b", bundle)


def test_a_text_that_begins_with_a_dash(run: Command, bundle: Path, folder: Path) -> None:
    run.refused("flowvox say -- TEXT", "say", "-5 degrees", "-b", bundle)
    assert run("say", "-b", bundle, "--max-seconds", 0.3, "--", "-5 degrees")[0] == 0


@pytest.mark.parametrize("content", [b"", b" \n", b"\n\n"])
def test_empty_standard_input(
    run: Command, bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    run.refused("empty", "say", "-", "-b", bundle)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["\x00\x07\x1b[31m", "\U0001f469\u200d\U0001f467 \U0001f600", "[AUDIO] [BEGIN_AUDIO] </s>",
     "one two " * 1250, "x" * 10_000, "\udcff\udcfe not UTF-8"],
)  # fmt: skip
def test_any_text_is_spoken(run: Command, bundle: Path, folder: Path, text: str) -> None:
    assert run.json("say", text, "-b", bundle, "--max-seconds", 0.3)["frames"] <= 4


def test_the_number_of_threads_changes_nothing(run: Command, bundle: Path, folder: Path) -> None:
    arguments = ("say", "Hello there.", "-b", bundle, "--max-seconds", 1, "--threads")
    assert run.json(*arguments, 1)["codes_sha256"] == run.json(*arguments, 2)["codes_sha256"]


@pytest.mark.parametrize("engine", ["-b", "-c"])
@pytest.mark.parametrize(
    ("options", "says"),
    [(("--steps", 0), "steps"), (("--steps", "few"), "steps"), (("--guidance", -1), "guidance"),
     (("--quality", "best"), "fast"), (("--guidance", "nan"), "guidance"), (("--seed", -1), "seed"), (("--seed", 2**64), "seed"),
     (("--max-seconds", 0), "max-seconds"), (("--max-seconds", "inf"), "max-seconds"),
     (("--threads", 0), "threads"), (("--threads", 10**6), "threads"), (("-v", "bob"), "first, second"),
     (("-o", "no/such/a.wav"), "no such folder"), (("-o", "."), "is a folder"),
     (("-o", "-", "--json"), "standard output"), (("--save-codes", "no/c.npy"), "no such folder"),
     (("-o", "a", "--save-codes", "a"), "a file of its own"), (("--save-codes", "-"), "a file of its own")],
)  # fmt: skip
def test_bad_options_are_one_line_and_leave_nothing(
    run: Command, bundle: Path, random_micro: Path, folder: Path, engine: str,
    options: tuple[object, ...], says: str,
) -> None:  # fmt: skip
    source = bundle if engine == "-b" else random_micro
    run.refused(says, "say", "Hello.", engine, source, *options)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [(("--device", "tpu"), "tpu"), (("--device", "cuda"), "onnxruntime"), (("--colour", 1), "--colour"),
     (("-c", "somewhere"), "not both"), (("-b", "nowhere"), "not a bundle")],
)  # fmt: skip
def test_options_that_only_some_sources_have(
    run: Command, bundle: Path, folder: Path, options: tuple[object, ...], says: str
) -> None:
    run.refused(says, "say", "Hello.", "-b", bundle, *options)
    assert list(folder.iterdir()) == []


def test_a_flipped_byte_is_found_before_a_word_is_said(
    run: Command, copy: Path, folder: Path
) -> None:
    data = bytearray((copy / "backbone.onnx.data").read_bytes())
    data[100] ^= 4
    (copy / "backbone.onnx.data").write_bytes(data)
    run.refused("backbone.onnx.data", "say", "Hello.", "-b", copy)
    assert run("verify", copy)[0] == 1


@pytest.mark.parametrize("text", ["", " \t\n", "x" * 100_001])
def test_texts_that_cannot_be_said(
    run: Command, bundle: Path, random_micro: Path, folder: Path, text: str
) -> None:
    run.refused("the text", "say", text, "-b", bundle)
    run.refused("the text", "say", text, "-c", random_micro)


def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    run: Command, bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowvox.runtime.tts import TTS

    monkeypatch.setattr(TTS, "load", lambda *_, **__: pytest.fail("it began to work"))
    run.refused("no such folder", "say", "Hello.", "-b", bundle, "-o", "missing/a.wav")


def test_a_checkpoint_is_not_a_bundle_nor_the_other_way_round(
    run: Command, bundle: Path, random_micro: Path, folder: Path
) -> None:
    run.refused("a checkpoint, not a bundle", "say", "Hello.", "-b", random_micro)
    run.refused("params.json", "say", "Hello.", "-c", bundle)


@pytest.mark.parametrize("graph", ["backbone", "flow", "codec_decoder"])
def test_numbers_that_are_not_finite(run: Command, copy: Path, folder: Path, graph: str) -> None:
    name = f"{graph}.onnx.data"
    nan = np.full((copy / name).stat().st_size // 4, np.nan, dtype=np.float32)
    overwrite(copy, name, nan.tobytes())
    run.refused("not finite", "say", "Hello.", "-b", copy)
    assert list(folder.iterdir()) == []


def test_without_torch_the_reference_names_the_extra(random_micro: Path, folder: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from flowvox.cli import main; main()"
    command = [sys.executable, "-c", code, "say", "Hello.", "-c", str(random_micro)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "flowvox[export]"' in done.stderr


def test_a_reader_that_goes_away_is_no_error(bundle: Path, folder: Path) -> None:
    """`flowvox say ... -o - | head -c 4`"""
    command = [sys.executable, "-m", "flowvox", "say", "Hello there.", "-b", str(bundle), "-o", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    error = process.stderr.read()
    assert (process.wait(), b"Traceback" in error) == (0, False)
