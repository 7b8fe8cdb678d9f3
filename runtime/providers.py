"""Execution providers: which one runs a graph, and with which options.

Options are those of onnxruntime's documentation (onnxruntime.ai/docs/execution-providers, pages CUDA
and TensorRT); what is not named here keeps its default. Which GPU: CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from flowvox.errors import FlowvoxError
from flowvox.graphs import BACKBONE, CODEC_DECODER
from flowvox.runtime.cuda import DRIVER, find_libraries, has_driver, warn_once, why_not

Device = Literal["auto", "cpu", "cuda", "cuda-graph", "tensorrt"]
Provider = str | tuple[str, dict[str, Any]]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
ASKED = {"cuda": CUDA, "cuda-graph": CUDA, "tensorrt": TENSORRT}
CAPTURE = {"enable_cuda_graph": "1"}
CUDA_OPTIONS = {
    # The arena grows by what is asked for, not to the next power of two: an 8 GB card must do.
    "arena_extend_strategy": "kSameAsRequested",
    # The codec sees a new length with every size of chunk; the default search would time all of
    # cuDNN's algorithms for each.
    "cudnn_conv_algo_search": "HEURISTIC",
    # 32 MB at most: convolutions are 3 % of the work.
    "cudnn_conv_use_max_workspace": "0",
    # TF32 would round what is float32 for a reason (semantic head, norms) to 10 bits.
    "use_tf32": "0",
}


def settled(device: Device, recipe: Mapping[str, Any]) -> Device:
    """The device for a bundle of this recipe.

    "auto" is the CPU for one that computes in float32: CUDA has no attention for it, and the copies of
    the cache would cost more than the GPU gains.
    """
    return "cpu" if device == "auto" and recipe.get("compute") != "float16" else device


def tensorrt_options() -> dict[str, str]:
    """For the codec. Engines take minutes to build, so they are kept in the user's cache folder.

    Without explicit profiles onnxruntime widens an engine's range of shapes by building it anew when
    a longer chunk comes. Explicit ones (trt_profile_min_shapes) must name every dynamic input of
    every part that TensorRT takes, and the norms between the parts are onnxruntime's own.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "flowvox" / "tensorrt"
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_min_subgraph_size": "5",  # smaller parts cost more copies than they save
        "trt_fp16_enable": "0",  # nobody has measured the codec in float16 with TensorRT
    }


def choose_providers(
    device: Device, graph: str | None = None, available: list[str] | None = None
) -> list[Provider]:
    """Providers for a graph, in order of preference; `available` is onnxruntime's list unless given.

    "auto" takes CUDA where the installed onnxruntime has it and a driver is there, else the CPU.
    "tensorrt" gives TensorRT the codec only: attention, norms and block products of the other graphs
    are operators of onnxruntime, which TensorRT does not know. "cuda-graph" has the backbone's steps
    captured; onnxruntime refuses that for graphs with a Loop, as the flow head has, and the codec
    changes its shapes. Raises FlowvoxError if the asked provider or the driver is missing.
    """
    present = ort.get_available_providers() if available is None else available
    if device in ASKED and ASKED[device] not in present:
        raise FlowvoxError(
            f"this onnxruntime has no {ASKED[device]}; pip uninstall onnxruntime, then pip install "
            '"onnxruntime-gpu[cuda,cudnn]" (on Jetson: see docs/devices), or use --device cpu'
        )
    if device in ASKED and not has_driver():
        raise FlowvoxError(
            f"{ASKED[device]} needs NVIDIA's driver, and {DRIVER} is not here; install it, or use "
            "--device cpu"
        )
    if device == "cpu" or CUDA not in present or not has_driver():
        return [CPU]
    find_libraries()
    captured = device == "cuda-graph" and graph == BACKBONE
    providers: list[Provider] = [(CUDA, CUDA_OPTIONS | (CAPTURE if captured else {})), CPU]
    if device == "tensorrt" and graph == CODEC_DECODER:
        options = tensorrt_options()
        Path(options["trt_engine_cache_path"]).mkdir(parents=True, exist_ok=True)
        providers.insert(0, (TENSORRT, options))
    return providers


def check_started(providers: list[Provider], device: Device, session: ort.InferenceSession) -> None:
    """Raise FlowvoxError where a provider that was asked for is installed but did not start.

    onnxruntime then falls back to the CPU, which "auto" wants, with a warning, and nobody else.
    """
    for name in (provider[0] for provider in providers if isinstance(provider, tuple)):
        if name not in session.get_providers():
            reason = f"{name} is installed but cannot start ({why_not(name)})"
            if device in ASKED:
                raise FlowvoxError(f"{reason}, or use --device cpu")
            warn_once(f"{reason}; the CPU is used")
