"""Execution providers: which one runs the graphs, and with which options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from flowvox.errors import FlowvoxError

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
Provider = str | tuple[str, dict[str, Any]]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
ASKED = {"cuda": CUDA, "tensorrt": TENSORRT}
# The arena grows by what is asked for, not to the next power of two: an 8 GB card must do. TF32 would
# round the float32 parts (semantic head, norms) to 10 bits.
CUDA_OPTIONS = {
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
    "do_copy_in_default_stream": "1",
    "use_tf32": "0",
}


def tensorrt_options() -> dict[str, str]:
    """Engines take minutes to build, so they are kept in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "flowvox" / "tensorrt"
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "0",  # float16 overflows in flow heads
    }


def choose_providers(device: Device, available: list[str] | None = None) -> list[Provider]:
    """Providers in order of preference; `available` is onnxruntime's list unless given.

    "auto" takes CUDA where the installed onnxruntime has it, else the CPU; TensorRT is only used when
    asked for, because its first start builds engines. Raises FlowvoxError if the asked one is missing.
    """
    present = ort.get_available_providers() if available is None else available
    if device in ASKED and ASKED[device] not in present:
        raise FlowvoxError(
            f"this onnxruntime has no {ASKED[device]}; install onnxruntime-gpu (on Jetson: NVIDIA's "
            "wheel) or use --device cpu"
        )
    providers: list[Provider] = []
    if device == "tensorrt":
        providers.append((TENSORRT, tensorrt_options()))
    if device != "cpu" and CUDA in present:
        providers.append((CUDA, dict(CUDA_OPTIONS)))
    return [*providers, CPU]


def check_started(device: Device, session: ort.InferenceSession) -> None:
    """Raise FlowvoxError where the asked provider is installed but did not start.

    onnxruntime then falls back to the CPU in silence, which "auto" wants and nobody else.
    """
    if device in ASKED and ASKED[device] not in session.get_providers():
        raise FlowvoxError(
            f"{ASKED[device]} is installed but cannot start; check the driver, CUDA and cuDNN, or use "
            "--device cpu"
        )
