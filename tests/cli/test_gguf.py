"""GGUF files on the command line: a source like any checkpoint, and an artifact beside bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.command import Command


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture
def whole(run: Command, random_micro: Path, files: Path) -> Path:
    """`random_micro` in float32."""
    out = files / "whole.gguf"
    if not out.exists():
        run.json("quantize", random_micro, "-f", "gguf", "-r", "f32", "-o", out)
    return out


@pytest.fixture
def half(run: Command, random_micro: Path, files: Path) -> Path:
    """`random_micro` in float16."""
    out = files / "half.gguf"
    if not out.exists():
        run.json("quantize", random_micro, "-f", "gguf", "-r", "f16", "-o", out)
    return out


def codes(run: Command, folder: Path, *source: object) -> str:
    options = ("--max-seconds", 1, "-o", folder / "x.wav", "--seed", 3)
    return str(run.json("say", "a b", *source, *options)["codes_sha256"])


def test_json_has_the_promised_keys(run: Command, random_micro: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.gguf"
    result = run.json("quantize", random_micro, "-f", "gguf", "-r", "q8_0", "-o", out)
    assert set(result) == {"path", "bytes", "recipe", "components", "seconds", "peak_rss_bytes"}
    assert result["bytes"] == out.stat().st_size
    assert set(result["components"]["flow"]) == {"parameters", "bytes", "bits_per_weight"}
    run.refused("--overwrite", "quantize", random_micro, "-f", "gguf", "-r", "q8_0", "-o", out)
    run.json("quantize", random_micro, "-f", "gguf", "-r", "f16", "-o", out, "--overwrite")


def test_dry_run_writes_nothing(run: Command, random_micro: Path, folder: Path) -> None:
    plan = run.json("quantize", random_micro, "-f", "gguf", "-r", "q4_k", "--dry-run")
    formats = {row["tensor"]: row["format"] for row in plan["tensors"]}
    assert formats["blk.0.attn_norm.weight"] == "float32"
    assert formats["blk.0.attn_q.weight"] == "float16"  # rows of 40
    assert list(folder.iterdir()) == []


def test_recipes_of_the_other_kind_are_refused(
    run: Command, random_micro: Path, folder: Path
) -> None:
    run.refused("-f gguf", "quantize", random_micro, "-r", "q4_k", "-o", "x")
    run.refused("-f onnx", "quantize", random_micro, "-f", "gguf", "-r", "int4", "-o", "x")
    assert list(folder.iterdir()) == []


def test_the_backbone_alone(run: Command, random_micro: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "x.gguf", ("-r", "fp16", "--component", "backbone")
    result = run.json("quantize", random_micro, "-f", "gguf", *options, "-o", out)
    assert set(result["components"]) == {"backbone", "token_embeddings"}
    run.refused("llama", "info", out)
    run.refused("-f gguf", "quantize", random_micro, *options, "-o", tmp_path / "bundle")


def test_it_speaks_as_the_checkpoint_does(
    run: Command, random_micro: Path, whole: Path, tmp_path: Path
) -> None:
    assert codes(run, tmp_path, "-c", whole) == codes(run, tmp_path, "-c", random_micro)


def test_its_fp32_bundle_speaks_as_it_does(run: Command, half: Path, tmp_path: Path) -> None:
    result = run.json("quantize", half, "-r", "fp32", "-o", tmp_path / "bundle")
    assert result["transfer"] == {"kept": 0, "converted": {}}  # float16 is not in blocks
    assert codes(run, tmp_path, "-b", tmp_path / "bundle") == codes(run, tmp_path, "-c", half)


def test_what_is_lost_is_said(run: Command, tiny: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "x.gguf", tmp_path / "y.gguf"
    run.json("quantize", tiny, "-f", "gguf", "-r", "q8_0", "-o", source)
    _, said, _ = run("quantize", source, "-f", "gguf", "-r", "q4_k", "-o", out)
    assert "1 matrices are taken over" in said
    assert "84 from q8_0 to q4_k; error added: 0.07" in said


def test_info_and_voices(run: Command, whole: Path, random_micro: Path) -> None:
    facts, original = run.json("info", whole), run.json("info", random_micro)
    assert facts["kind"] == "gguf"
    assert facts["recipe"] == "fp32"
    assert facts["formats"] == [f"{original['tensors']} float32"]
    for key in ("tensors", "parameters", "encoder", "license", "voices"):
        assert facts[key] == original[key]
    assert facts["components"]["backbone"]["bits_per_weight"] == 32
    assert run.json("voices", whole) == {"voices": ["first", "second"]}


def test_verify(run: Command, whole: Path, tmp_path: Path) -> None:
    assert run("verify", whole)[:2] == (0, f"{whole}: good\n")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(whole.read_bytes()[:-70000])
    status, out, _ = run("verify", damaged, "--json")
    assert status == 1
    assert "damaged" in json.loads(out)["problems"][0]
    (tmp_path / "x.txt").write_text("no model")
    run.refused("nor a GGUF file", "verify", tmp_path / "x.txt")
