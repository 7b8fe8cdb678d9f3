"""Adapters as PEFT saves them, written without PEFT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Matrices = Mapping[str, tuple[np.ndarray, np.ndarray]]  # module -> A [r, in], B [out, r]


def keys(module: str) -> tuple[str, str]:
    """Of A and B."""
    return tuple(f"base_model.model.{module}.lora_{factor}.weight" for factor in "AB")


def tensors(matrices: Matrices) -> dict[str, np.ndarray]:
    """What goes into the file, by key."""
    return {
        key: np.ascontiguousarray(values)
        for module, factors in matrices.items()
        for key, values in zip(keys(module), factors, strict=True)
    }


def write_tensors(folder: Path, stored: Mapping[str, np.ndarray], **config: Any) -> Path:
    """A folder with both files; `config` goes over rank 2 and alpha 2."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(stored), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    defaults = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "bias": "none", "use_dora": False}
    (folder / "adapter_config.json").write_text(json.dumps(defaults | config))
    return folder


def write_adapter(folder: Path, matrices: Matrices, **config: Any) -> Path:
    """As `write_tensors`."""
    return write_tensors(folder, tensors(matrices), **config)


def random_factors(
    shape: tuple[int, int], rank: int = 2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A and B for a matrix [out, in], of a size that shows."""
    draw = np.random.default_rng(seed)
    out, inner = shape
    a, b = draw.normal(size=(rank, inner)), draw.normal(size=(out, rank))
    return a.astype(np.float32) / 8, b.astype(np.float32) / 8
