"""`flowvox quantize --lora`: merged into both formats, recorded, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.command import Command
from tests.reference.lora.peft_files import random_factors, write_adapter, write_tensors

from flowvox.bundle import file_hash
from flowvox.cli.artifact import open_source
from flowvox.errors import FlowvoxError
from flowvox.eval.artifact import open_artifact
from flowvox.eval.harness import check_comparable
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.lora.merged import MergedSource

DOWN = "layers.1.feed_forward.w2"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, random_micro: Path) -> Path:
    shape = Checkpoint.open(random_micro).shapes[f"{DOWN}.weight"]
    folder = tmp_path_factory.mktemp("adapters") / "voice"
    return write_adapter(folder, {f"backbone.{DOWN}": random_factors(shape)})


def record(adapter: Path, scale: float) -> dict[str, Any]:
    file = "adapter_model.safetensors"
    return {"file": file, "sha256": file_hash(adapter / file), "scale": scale, "matrices": 1,
            "license": "unknown"}  # fmt: skip


def test_a_bundle(run: Command, random_micro: Path, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    made = run.json(
        "quantize", random_micro, "-r", "fp16", "-o", out, "--lora", adapter, "--lora-scale", 0.5
    )
    merged = MergedSource(Checkpoint.open(random_micro), adapter, 0.5)
    found = run.json("info", out)
    assert made["adapters"] == found["adapters"] == [record(adapter, 0.5)]
    assert found["source"] == merged.source_hash()
    assert run.json("verify", out)["adapters"] == [record(adapter, 0.5)]
    for verb in ("info", "verify"):
        assert "merged into 1 matrices at scale 0.5, licence: unknown" in run(verb, out)[1]
    assert "adapter_model.safetensors" in (out / "README.md").read_text()


def test_a_gguf_file_and_what_is_made_of_it(
    run: Command, random_micro: Path, adapter: Path, tmp_path: Path
) -> None:
    file, bundle = tmp_path / "m.gguf", tmp_path / "b"
    run.json("quantize", random_micro, "-f", "gguf", "-r", "f32", "-o", file, "--lora", adapter)
    merged = MergedSource(Checkpoint.open(random_micro), adapter)
    source = open_source(file)
    np.testing.assert_array_equal(source.read(f"{DOWN}.weight"), merged.read(f"{DOWN}.weight"))
    assert run.json("info", file)["adapters"] == [record(adapter, 1.0)]
    run.json("quantize", file, "-r", "fp32", "-o", bundle, "--lora", adapter)
    assert run.json("info", bundle)["adapters"] == [record(adapter, 1.0)] * 2


def test_only_what_is_merged_alike_is_compared(
    run: Command, random_micro: Path, micro_bundles: dict[str, Path], adapter: Path, tmp_path: Path
) -> None:
    for recipe in ("fp32", "int4"):
        out = tmp_path / recipe
        run.json("quantize", random_micro, "-r", recipe, "-o", out, "--lora", adapter)
    artifacts = [open_artifact(tmp_path / recipe) for recipe in ("int4", "fp32")]
    check_comparable(*artifacts)
    with pytest.raises(FlowvoxError, match="of another model"):
        check_comparable(artifacts[0], open_artifact(micro_bundles["fp32"]))


@pytest.mark.parametrize("kind", ["onnx", "gguf"])
def test_dry_run_shows_it(
    run: Command, random_micro: Path, adapter: Path, folder: Path, kind: str
) -> None:
    options = ("-r", "fp16", "-f", kind, "--dry-run", "--lora", adapter)
    plan = run.json("quantize", random_micro, *options)
    assert plan["adapters"] == [record(adapter, 1.0)]
    assert "merged into 1 matrices" in run("quantize", random_micro, *options)[1]
    assert list(folder.iterdir()) == []


def test_refused(run: Command, random_micro: Path, adapter: Path, folder: Path) -> None:
    foreign = {"model.layers.99.self_attn.q_proj": random_factors((96, 40))}
    other = write_adapter(adapter.parent / "other", foreign)
    nothing = write_tensors(adapter.parent / "nothing", {})
    start = ("quantize", random_micro, "-r", "int4", "-o", folder / "b")
    run.refused("model.layers.99.self_attn.q_proj.lora_A.weight", *start, "--lora", other)
    run.refused("no adapter weights", *start, "--lora", nothing)
    run.refused("no such file", *start, "--lora", folder / "nowhere")
    run.refused("--lora-scale is for --lora", *start, "--lora-scale", "2")
    for scale in ("0", "nan"):
        run.refused("is no scale", *start, "--lora", adapter, "--lora-scale", scale)
    assert list(folder.iterdir()) == []
