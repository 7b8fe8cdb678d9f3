"""GGUF files of small random checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import micro_params

from flowvox.exporters.gguf.writer import export_gguf
from flowvox.recipe import load_recipe
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.random_checkpoint import write_random_checkpoint

Convert = Callable[[Path, str], Path]


@pytest.fixture(scope="session")
def wide_micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint whose backbone rows are whole blocks of 256; the codec's are not."""
    params = copy.deepcopy(micro_params())
    params |= {"dim": 256, "hidden_dim": 512, "head_dim": 64, "n_heads": 4, "n_kv_heads": 2}
    params["vocab_size"] = 400
    flow = {"input_dim": 256, "dim": 256, "hidden_dim": 64, "n_layers": 1}
    params["multimodal"]["audio_model_args"]["acoustic_transformer_args"] |= flow
    params["multimodal"]["audio_tokenizer_args"] |= {"dim": 32, "hidden_dim": 96}
    path = tmp_path_factory.mktemp("checkpoints") / "wide"
    write_random_checkpoint(params, path, seed=2)
    return path


@pytest.fixture(scope="session")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """(checkpoint, recipe) -> GGUF file, made once."""
    folder, made = tmp_path_factory.mktemp("gguf"), {}

    def run(checkpoint: Path, recipe: str) -> Path:
        key = (checkpoint, recipe)
        if key not in made:
            made[key] = folder / f"{checkpoint.name}-{Path(recipe).stem}.gguf"
            export_gguf(Checkpoint.open(checkpoint), load_recipe(recipe), made[key])
        return made[key]

    return run
