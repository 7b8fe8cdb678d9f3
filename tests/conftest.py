"""Shared fixtures: checkpoints and bundles made once per session."""

from __future__ import annotations

import copy
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from flowvox.source import ModelSource

# Times belong to `flowvox bench`: a busy machine is no failing test.
settings.register_profile("flowvox", deadline=None)
settings.load_profile("flowvox")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

REPOSITORY = Path(__file__).resolve().parent.parent


def published_params() -> dict[str, Any]:
    """The published params.json of the 4B model."""
    text = (resources.files("flowvox") / "shapes" / "4b.json").read_text("utf-8")
    return json.loads(text)


def micro_params() -> dict[str, Any]:
    """A very small model with odd sizes: 6/3 heads, 3 codec heads (ALiBi of no power of two)."""
    params = copy.deepcopy(published_params())
    sizes = {"n_heads": 6, "n_kv_heads": 3, "head_dim": 16, "n_layers": 2}
    params |= sizes | {"dim": 40, "hidden_dim": 72, "vocab_size": 1400, "max_seq_len": 2048}
    audio = params["multimodal"]["audio_model_args"]
    audio |= {"semantic_codebook_size": 20, "acoustic_codebook_size": 7, "n_acoustic_codebook": 5}
    flow = {"input_dim": 40, "dim": 44, "hidden_dim": 56, "n_layers": 3, "n_kv_heads": 2}
    audio["acoustic_transformer_args"] |= sizes | flow
    params["multimodal"]["audio_tokenizer_args"] |= {
        "semantic_codebook_size": 20,
        "semantic_dim": 6,
        "acoustic_codebook_size": 7,
        "acoustic_dim": 5,
        "pretransform_patch_size": 240,
        "dim": 24,
        "hidden_dim": 30,
        "head_dim": 8,
        "n_heads": 3,
        "n_kv_heads": 3,
        "decoder_transformer_lengths_str": "1,1,1,2",
        "encoder_transformer_lengths_str": "2,1,1,1",
        "encoder_convs_kernels_str": "4,4,4,3",
        "encoder_convs_strides_str": "2,2,2,1",
        "voice": {"first": 0, "second": 1},
    }
    return params


@pytest.fixture(scope="session")
def random_micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of the micro shape, with encoder and two voices."""
    from flowvox.reference.random_checkpoint import write_random_checkpoint

    path = tmp_path_factory.mktemp("checkpoints") / "micro"
    write_random_checkpoint(micro_params(), path, seed=1)
    return path


@pytest.fixture(scope="session")
def micro_bundles(tmp_path_factory: pytest.TempPathFactory, random_micro: Path) -> dict[str, Path]:
    """Bundles of `random_micro` by recipe: fp32, fp16, int8, int4."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        name: export(random_micro, name, folder / name) for name in ("fp32", "fp16", "int8", "int4")
    }


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The trained checkpoint of the repository."""
    return REPOSITORY / "models" / "tiny"


@pytest.fixture(scope="session")
def tiny_fp32(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The fp32 bundle of models/tiny."""
    return export(tiny, "fp32", tmp_path_factory.mktemp("tiny") / "fp32")


@pytest.fixture(scope="session")
def tiny_int4(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The int4 bundle of models/tiny."""
    return export(tiny, "int4", tmp_path_factory.mktemp("tiny") / "int4")


def export(checkpoint: Path, recipe: str, out: Path) -> Path:
    """Run the whole export as the CLI does."""
    from flowvox.reference.checkpoint import Checkpoint

    return export_source(Checkpoint.open(checkpoint), recipe, out)


def export_source(source: ModelSource, recipe: str, out: Path) -> Path:
    """The same of an opened model."""
    from flowvox.exporters.onnx.bundle_export import export_bundle
    from flowvox.exporters.onnx.check import Recording
    from flowvox.recipe import load_recipe
    from flowvox.reference.activations import record

    def recordings(source: ModelSource, report: object) -> dict[str, Recording]:
        return {name: Recording(*both) for name, both in record(source).items()}

    export_bundle(source, load_recipe(recipe), out, recordings)
    return out
