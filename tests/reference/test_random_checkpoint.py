"""Random checkpoints: the published layout, the same bytes for the same seed, little memory."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import micro_params

from flowvox.config import ModelConfig
from flowvox.errors import ConfigError, OutputError
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.random_checkpoint import load_shape, write_random_checkpoint
from flowvox.reference.safetensors_file import header_bytes
from flowvox.tensors import checkpoint_tensors
from flowvox.tokenizer import Tokenizer


def test_names_and_shapes_are_those_of_the_layout(random_micro: Path) -> None:
    checkpoint = Checkpoint.open(random_micro)
    assert checkpoint.shapes == checkpoint_tensors(checkpoint.config, encoder=True)
    assert (
        Tokenizer.load(checkpoint.tokenizer_path).vocab_size
        == checkpoint.config.backbone.vocab_size
    )
    assert list(checkpoint.voices()) == ["first", "second"]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, random_micro: Path) -> None:
    write_random_checkpoint(micro_params(), tmp_path / "again", seed=1)
    write_random_checkpoint(micro_params(), tmp_path / "other", seed=2)

    def digest(folder: Path) -> str:
        return hashlib.sha256((folder / "consolidated.safetensors").read_bytes()).hexdigest()

    assert digest(tmp_path / "again") == digest(random_micro) != digest(tmp_path / "other")


def test_the_4b_plan_is_the_published_file() -> None:
    shapes = checkpoint_tensors(ModelConfig.from_dict(load_shape("4b")), encoder=False)
    assert len(shapes) == 386
    assert 2 * sum(math.prod(shape) for shape in shapes.values()) == 8_004_706_784
    assert len(header_bytes(shapes)) < 100_000


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """A checkpoint is written in less memory than it has bytes (most of it the vocabulary)."""
    code = f"""
from pathlib import Path
from flowvox.machine import peak_rss_bytes
from flowvox.reference.random_checkpoint import load_shape, write_random_checkpoint
params = load_shape("tiny")
params |= {{"vocab_size": 131072, "dim": 1024, "n_layers": 8, "hidden_dim": 3072}}
acoustic = params["multimodal"]["audio_model_args"]["acoustic_transformer_args"]
acoustic["input_dim"] = 1024
write_random_checkpoint(params, Path({str(tmp_path / "wide")!r}), 0)
print(peak_rss_bytes())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size = (tmp_path / "wide" / "consolidated.safetensors").stat().st_size
    assert size > 440e6
    assert int(done.stdout) < 400e6


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such shape"):
        load_shape("huge")
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        write_random_checkpoint(micro_params(), tmp_path / "there", seed=0)


def test_a_full_disk_is_noticed_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="GB are free"):
        write_random_checkpoint(micro_params(), tmp_path / "a", seed=0)
    assert list(tmp_path.iterdir()) == []
