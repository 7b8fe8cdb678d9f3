"""Which files hold a checkpoint's weights: one, or shards, by an index where there is one."""

from __future__ import annotations

import json
from pathlib import Path

from flowvox.errors import CheckpointError

WEIGHTS = "consolidated.safetensors"
INDEX = "*.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """The .safetensors files to read. Raises CheckpointError.

    consolidated.safetensors alone if it is there; else the shards that the index names, of which none
    may be missing; else every .safetensors file of the folder.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    for index in sorted(folder.glob(INDEX)):
        return _indexed(index)
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise CheckpointError(f"{folder}: no {WEIGHTS} here; download the weights too")
    return shards


def _indexed(index: Path) -> list[Path]:
    """The files of an index {"weight_map": {tensor: file name}}."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        plain = bool(names) and all(Path(name).name == name for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        plain = False
    if not plain:
        raise CheckpointError(f"{index}: is not an index of shards; download it again")
    files = [index.parent / name for name in names]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise CheckpointError(
            f"{index.parent}: {len(missing)} of {len(files)} shards are missing, {missing[0]} for "
            "one; download the weights again"
        )
    return files
