"""The command line: exit status, one line per error, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flowvox.cli import main


def flowvox(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def bundle(micro_bundles: dict[str, Path]) -> Path:
    return micro_bundles["int4"]


def refused(result: tuple[int, str, str], says: str) -> None:
    status, _, err = result
    assert status == 2, err
    assert len(err.strip().splitlines()) == 1, err
    assert says in err


class TestSay:
    def test_json_has_the_promised_keys(
        self, capfd: pytest.CaptureFixture[str], bundle: Path, tmp_path: Path
    ) -> None:
        wav, codes = tmp_path / "a.wav", tmp_path / "c.npy"
        status, out, _ = flowvox(
            capfd, "say", "Hello.", "-b", bundle, "-o", wav, "-v", "second", "--seed", 3,
            "--max-seconds", 1, "--save-codes", codes, "--threads", 1, "--json",
        )  # fmt: skip
        assert status == 0
        result = json.loads(out.splitlines()[-1])
        assert set(result) == {
            "audio_seconds", "compute_seconds", "rtf", "first_audio_seconds", "frames", "ended", "seed",
            "voice", "sample_rate", "codes_sha256", "peak_rss_bytes",
        }  # fmt: skip
        saved = np.load(codes)
        assert saved.dtype == np.int32
        assert saved.shape == (result["frames"], 6)
        assert (result["voice"], result["seed"]) == ("second", 3)
        assert wav.stat().st_size > 44

    def test_the_reference_says_the_same_codes(
        self,
        capfd: pytest.CaptureFixture[str],
        micro_bundles: dict[str, Path],
        random_micro: Path,
        tmp_path: Path,
    ) -> None:
        hashes = []
        for source in (("-b", micro_bundles["fp32"]), ("-c", random_micro)):
            arguments = (
                "say",
                "Hello.",
                *source,
                "-o",
                tmp_path / "a.wav",
                "--max-seconds",
                1,
                "--json",
            )
            hashes.append(
                json.loads(flowvox(capfd, *arguments)[1].splitlines()[-1])["codes_sha256"]
            )
        assert hashes[0] == hashes[1]

    def test_wav_to_stdout_and_text_from_stdin(self, bundle: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "flowvox",
            "say",
            "-",
            "-b",
            str(bundle),
            "-o",
            "-",
            "--max-seconds",
            "1",
        ]
        done = subprocess.run(command, input=b"Hello.", capture_output=True, check=True)
        assert done.stdout[:4] == b"RIFF"

    @pytest.mark.parametrize(
        ("options", "says"),
        [((), "empty"), (("-v", "bob"), "first, second"), (("--steps", 0), "steps"),
         (("--guidance", -1), "guidance"), (("--seed", -4), "seed"), (("--max-seconds", 0), "max-seconds"),
         (("--threads", 0), "threads"), (("-o", "/nowhere/at/all.wav"), "no such folder"),
         (("--device", "tpu"), "tpu"), (("--device", "cuda"), "onnxruntime"), (("--colour", 1), "--colour"),
         (("-c", "somewhere"), "not both")],
    )  # fmt: skip
    def test_bad_input(
        self, capfd: pytest.CaptureFixture[str], bundle: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], says: str,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        text = "Hello." if options else " "
        refused(flowvox(capfd, "say", text, "-b", bundle, *options), says)
        assert list(tmp_path.iterdir()) == []

    def test_a_flipped_byte(
        self, capfd: pytest.CaptureFixture[str], bundle: Path, tmp_path: Path
    ) -> None:
        copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
        data = bytearray((copy / "backbone.onnx.data").read_bytes())
        data[100] ^= 4
        (copy / "backbone.onnx.data").write_bytes(data)
        refused(
            flowvox(capfd, "say", "Hi", "-b", copy, "-o", tmp_path / "a.wav"), "backbone.onnx.data"
        )
        assert flowvox(capfd, "verify", copy)[0] == 1

    def test_a_bundle_that_is_not_there(
        self, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        refused(
            flowvox(capfd, "say", "Hi", "-b", tmp_path / "x", "-o", tmp_path / "a.wav"),
            "not a bundle",
        )


class TestQuantize:
    def test_json_has_the_promised_keys(
        self, capfd: pytest.CaptureFixture[str], random_micro: Path, tmp_path: Path
    ) -> None:
        status, out, err = flowvox(
            capfd, "quantize", random_micro, "-r", "int8", "-o", tmp_path / "b", "--json"
        )
        assert status == 0, err
        result = json.loads(out.splitlines()[-1])
        assert set(result) == {"path", "bytes", "recipe", "components", "seconds", "peak_rss_bytes"}
        assert set(result["components"]["flow"]) == {"parameters", "bytes", "bits_per_weight"}
        assert result["recipe"] == "int8"
        refused(
            flowvox(capfd, "quantize", random_micro, "-r", "int8", "-o", tmp_path / "b"),
            "--overwrite",
        )
        assert (
            flowvox(
                capfd, "quantize", random_micro, "-r", "fp16", "-o", tmp_path / "b", "--overwrite"
            )[0]
            == 0
        )
        assert "fp16" in flowvox(capfd, "info", tmp_path / "b")[1]

    def test_dry_run_writes_nothing(
        self, capfd: pytest.CaptureFixture[str], random_micro: Path
    ) -> None:
        status, out, _ = flowvox(
            capfd, "quantize", random_micro, "-r", "int4", "--dry-run", "--json"
        )
        plan = json.loads(out)
        assert status == 0
        formats = {row["tensor"]: row["format"] for row in plan["tensors"]}
        assert formats["layers.0.attention.wq.weight"] == "int4"
        assert formats["layers.0.attention_norm.weight"] == "float32"

    @pytest.mark.parametrize(
        ("options", "says"),
        [(("-r", "int3", "-o", "x"), "int3"), (("-r", "int4"), "-o OUT"), (("-o", "x"), "recipe"),
         (("-r", "int4", "-o", "x", "-f", "pdf"), "pdf")],
    )  # fmt: skip
    def test_bad_input(
        self, capfd: pytest.CaptureFixture[str], random_micro: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], says: str,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        refused(flowvox(capfd, "quantize", random_micro, *options), says)
        assert list(tmp_path.iterdir()) == []

    def test_interrupted_leaves_nothing(self, random_micro: Path, tmp_path: Path) -> None:
        code = (
            "import time, flowvox.exporters.onnx.bundle_export as e, flowvox.cli as c\n"
            "e.check_graph = lambda *a: (print('checking', flush=True), time.sleep(60))\n"
            f"c.main(['quantize', {str(random_micro)!r}, '-r', 'int4', '-o', {str(tmp_path / 'b')!r}])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"checking\n"
        assert [p.name for p in tmp_path.iterdir()] == [f"b.{process.pid}.partial"]
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert b"interrupted" in err
        assert list(tmp_path.iterdir()) == []


class TestOthers:
    def test_voices(
        self, capfd: pytest.CaptureFixture[str], bundle: Path, random_micro: Path
    ) -> None:
        for path in (bundle, random_micro):
            assert flowvox(capfd, "voices", path)[1].split() == ["first", "second"]

    def test_verify(
        self, capfd: pytest.CaptureFixture[str], bundle: Path, random_micro: Path, tmp_path: Path
    ) -> None:
        assert flowvox(capfd, "verify", bundle)[0] == 0
        assert flowvox(capfd, "verify", random_micro)[0] == 0
        refused(flowvox(capfd, "verify", tmp_path), "neither a bundle")
        copy = Path(shutil.copytree(random_micro, tmp_path / "copy"))
        data = (copy / "consolidated.safetensors").read_bytes()
        (copy / "consolidated.safetensors").write_bytes(data[:-10])
        status, out, _ = flowvox(capfd, "verify", copy, "--json")
        assert status == 1
        assert "damaged" in json.loads(out)["problems"][0]

    def test_info_and_doctor(
        self, capfd: pytest.CaptureFixture[str], bundle: Path, random_micro: Path
    ) -> None:
        assert json.loads(flowvox(capfd, "info", bundle, "--json")[1])["recipe"] == "int4"
        assert json.loads(flowvox(capfd, "info", random_micro, "--json")[1])["encoder"] is True
        assert "CPUExecutionProvider" in flowvox(capfd, "doctor")[1]

    def test_random_checkpoint(
        self, capfd: pytest.CaptureFixture[str], random_micro: Path, tmp_path: Path
    ) -> None:
        shape = random_micro / "params.json"
        assert (
            flowvox(
                capfd, "random-checkpoint", "--shape", shape, "-o", tmp_path / "c", "--seed", 1
            )[0]
            == 0
        )
        same = [
            (p / "consolidated.safetensors").read_bytes() for p in (tmp_path / "c", random_micro)
        ]
        assert same[0] == same[1]
        refused(
            flowvox(capfd, "random-checkpoint", "--shape", shape, "-o", tmp_path / "c"), "exists"
        )
        refused(
            flowvox(capfd, "random-checkpoint", "--shape", "huge", "-o", tmp_path / "d"), "huge"
        )

    def test_debug_shows_the_traceback(
        self, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        status, _, err = flowvox(capfd, "info", tmp_path, "--debug")
        assert status == 2
        assert "Traceback" in err
