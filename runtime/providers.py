"""Execution providers: which one runs the graphs, and with which options."""

from __future__ import annotations

from typing import Any, Literal

import onnxruntime as ort

from flowvox.errors import FlowvoxError

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
Provider = str | tuple[str, dict[str, Any]]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
# The cache grows by what is asked for, not to the next power of two: an 8 GB card must do. TF32 would
# round the float32 parts (semantic head, norms) to 10 bits.
CUDA_OPTIONS = {
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
    "do_copy_in_default_stream": "1",
    "use_tf32": "0",
}
# Engines take minutes to build; they are kept beside the user's other caches by TensorRT itself.
TENSORRT_OPTIONS = {
    "trt_engine_cache_enable": "1",
    "trt_timing_cache_enable": "1",
    "trt_fp16_enable": "0",
    "trt_builder_optimization_level": "3",
}


def choose_providers(device: Device, available: list[str] | None = None) -> list[Provider]:
    """Providers in order of preference; `available` is onnxruntime's list unless given.

    "auto" takes CUDA where the installed onnxruntime has it, else the CPU; TensorRT is only used when
    asked for, because its first start builds engines. Raises FlowvoxError if the asked one is missing.
    """
    present = ort.get_available_providers() if available is None else available
    wanted = {"auto": None, "cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}[device]
    if wanted is not None and wanted not in present:
        raise FlowvoxError(
            f"this onnxruntime has no {wanted}; install onnxruntime-gpu (on Jetson: NVIDIA's wheel) "
            "or use --device cpu"
        )
    providers: list[Provider] = []
    if device == "tensorrt":
        providers.append((TENSORRT, dict(TENSORRT_OPTIONS)))
    if device in {"cuda", "tensorrt"} or (device == "auto" and CUDA in present):
        providers += [(CUDA, dict(CUDA_OPTIONS))] if CUDA in present else []
    return [*providers, CPU]
