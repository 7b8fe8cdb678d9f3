"""manifest.json of a bundle: read strictly, so that nothing behind it meets a surprise."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowvox.adapter import parse_records
from flowvox.errors import BundleError, VoiceError
from flowvox.voices import check_name

SCHEMA = 1
MANIFEST = "manifest.json"
MAX_BYTES = 64 << 20  # the 4B model's is about 20 kB


@dataclass(frozen=True)
class Each:
    """An object with any keys, whose values all have one shape."""

    shape: Any


TABLE = {"format": re.compile("float32|float16|int8|int4"), "file": str}
# What every manifest has: a type (int: not negative), a pattern of strings, or the shape of an
# object. Further keys may be there too.
SHAPE: dict[str, Any] = {
    "flowvox": str,
    "license": str,
    "model": {"params": dict, "source_sha256": str},
    "recipe": {"name": str},
    "graphs": Each(dict),
    "sampling": {"steps": int, "solver": re.compile("euler|midpoint"), "guidance": float},
    "tables": {"token_embeddings": TABLE, "code_embeddings": TABLE},
    "voices": Each({"file": str, "rows": int}),
    "checks": Each(dict),
    "components": Each({"parameters": int, "bytes": int, "bits_per_weight": float}),
    "files": Each({"bytes": int, "sha256": re.compile("[0-9a-f]{64}")}),
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The parsed manifest of a bundle folder, every listed key of the right type.

    Raises BundleError in one line that names the key.
    """
    file = folder / MANIFEST
    if not file.is_file():
        what = (
            "a checkpoint, not a bundle" if (folder / "params.json").is_file() else "not a bundle"
        )
        raise BundleError(f"{folder}: {what} (no {MANIFEST}); make one with flowvox quantize")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError("it is absurdly large")
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{file}: not readable ({error}); make the bundle again") from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if type(schema) is not int or schema != SCHEMA:
        raise BundleError(
            f"{file}: schema {schema!r} is not {SCHEMA}; make the bundle again with this flowvox"
        )
    try:
        _check(manifest, SHAPE, "")
        parse_records(manifest["model"].get("adapters", []))
        for name in manifest["voices"]:
            check_name(name)
    except (ValueError, VoiceError) as error:
        raise BundleError(f"{file}: {error}; make the bundle again") from None
    return dict(manifest)


def _check(value: Any, shape: Any, where: str) -> None:
    """Raise ValueError where `value` has not the shape; `where` is the path of keys to it."""
    if isinstance(shape, Each):
        _check(value, dict, where)
        for key, entry in value.items():
            _check(entry, shape.shape, _join(where, key))
    elif isinstance(shape, Mapping):
        _check(value, dict, where)
        for key, inner in shape.items():
            if key not in value:
                raise ValueError(f"{_join(where, key)!r} is missing")
            _check(value[key], inner, _join(where, key))
    elif isinstance(shape, re.Pattern):
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise ValueError(f"{where!r} is malformed")
    else:
        # bool is an int to Python, but a size of `true` is a mistake; an int is a good float.
        kinds = (int, float) if shape is float else (shape,)
        if type(value) not in kinds or (shape is int and value < 0):
            raise ValueError(f"{where!r} is malformed")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
