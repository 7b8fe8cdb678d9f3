"""adapter_model.safetensors: everything that does not fit is refused in one line that names it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.reference.lora.peft_files import keys, random_factors, tensors, write_tensors

from flowvox.errors import FlowvoxError
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.lora.adapter import Adapter

QUERY, GATE = "layers.0.attention.wq", "layers.1.feed_forward.w1"
HALF = "model.layers.0.self_attn.q_proj"  # the same matrix as QUERY


@pytest.fixture
def base(random_micro: Path) -> Checkpoint:
    return Checkpoint.open(random_micro)


@pytest.fixture
def good(base: Checkpoint) -> dict[str, np.ndarray]:
    """Two matrices."""
    modules = {module: base.shapes[f"{module}.weight"] for module in (QUERY, GATE)}
    return tensors({module: random_factors(shape) for module, shape in modules.items()})


def opened(base: Checkpoint, path: Path) -> Adapter:
    return Adapter(path, base.config, base.shapes)


def renamed(old: str, new: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(stored: dict[str, np.ndarray]) -> None:
        for key, other in zip(keys(old), keys(new), strict=True):
            stored[other] = stored.pop(key)

    return change


def replaced(key: str, values: Any) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda stored: stored.update({key: values(stored[key])})


def twice(stored: dict[str, np.ndarray]) -> None:
    stored.update({new: stored[old] for old, new in zip(keys(QUERY), keys(HALF), strict=True)})


@pytest.mark.parametrize("older", [False, True])
def test_file_or_folder(
    base: Checkpoint, good: dict[str, np.ndarray], tmp_path: Path, older: bool
) -> None:
    if older:  # the adapter's name in the keys
        good = {key.replace(".weight", ".default.weight"): good[key] for key in good}
    folder = write_tensors(tmp_path / "a", good)
    for path in (folder, folder / "adapter_model.safetensors"):
        adapter = opened(base, path)
        assert set(adapter.matrices) == {f"{QUERY}.weight", f"{GATE}.weight"}
        assert adapter.licence == "unknown"
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    assert adapter.licence == "cc-by-4.0"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (renamed(QUERY, "layers.9.attention.wq"), "layers.9.attention.wq.lora_A"),
        (renamed(GATE, "mm_audio_embeddings.tok_embeddings"), "tok_embeddings.lora_A"),
        (lambda stored: stored.pop(keys(QUERY)[0]), f"{QUERY}.lora_B.weight has no lora_A"),
        (lambda stored: stored.pop(keys(GATE)[1]), f"{GATE}.lora_A.weight has no lora_B"),
        (lambda stored: stored.clear(), "no adapter weights"),
        (twice, "are both for layers.0.attention.wq.weight"),
        (replaced(keys(QUERY)[0], lambda a: a[:1]), f"{QUERY}.lora_A.weight has shape [1, 40]"),
        (replaced(keys(QUERY)[1], lambda b: b.T.copy()), f"{QUERY}.lora_B.weight has shape"),
        (replaced(keys(GATE)[1], lambda b: b * np.float32("nan")), f"{GATE}.lora_B.weight holds"),
        (replaced(keys(GATE)[1], lambda b: b.astype(np.int8)), "stored as I8"),
        (lambda stored: stored.update({"layers.0.attention.wq.lora_a": np.ones(2)}), "lora_a"),
        (lambda stored: stored.update(
            {f"base_model.model.{GATE}.lora_magnitude_vector": np.ones(2, np.float32)}),
         "lora_magnitude_vector"),
        (lambda stored: stored.update(
            {"base_model.model.norm.weight": np.ones(40, np.float32)}), "model.norm.weight"),
    ],
)  # fmt: skip
def test_what_does_not_fit(
    base: Checkpoint, good: dict[str, np.ndarray], tmp_path: Path, change: Any, says: str
) -> None:
    change(good)
    with pytest.raises(FlowvoxError) as refused:
        opened(base, write_tensors(tmp_path / "a", good))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_rank_pattern_is_checked(
    base: Checkpoint, good: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder = write_tensors(tmp_path / "a", good, rank_pattern={"w1": 3})
    with pytest.raises(FlowvoxError, match=r"w1\.lora_A\.weight has shape \[2, 40\].*\[3, 40\]"):
        opened(base, folder)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere", "no such file"),
        ("empty", "adapter_model.safetensors: no such file"),
        ("pickled", "safe_serialization"),
        ("pickled/adapter_model.bin", "safe_serialization"),
        ("alone/adapter_model.safetensors", "adapter_config.json: cannot be read"),
    ],
)
def test_missing_files(
    base: Checkpoint, good: dict[str, np.ndarray], tmp_path: Path, path: str, says: str
) -> None:
    for folder in ("empty", "pickled", "alone"):
        (tmp_path / folder).mkdir()
    shutil.copy(base.path / "params.json", tmp_path / "pickled" / "adapter_model.bin")
    save_file(good, tmp_path / "alone" / "adapter_model.safetensors")
    with pytest.raises(FlowvoxError, match=says):
        opened(base, tmp_path / path)
