"""What is known of CUDA in the installed onnxruntime: its libraries, its kernels, what suits them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import logging
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import onnxruntime as ort

from flowvox.errors import FlowvoxError

LOG = logging.getLogger("flowvox")
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
SUFFIX = (
    "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
)
FLOW_ROWS = 6  # three tokens in two guidance branches
# Up to so many rows CUDA's MatMulNBits multiplies block by block; for more it expands the whole weight
# on every call. 4 bits: microsoft/onnxruntime pull request 29451, whose kernels are in the wheel of
# onnxruntime-gpu 1.28.0 and not in that of 1.27.0. 8 bits: kSmallMMax8 of the same change.
BATCHED_SINCE = (1, 28)
BATCHED_ROWS = {"int4": 16, "int8": 5}


@functools.cache
def warn_once(message: str) -> None:
    """A warning for the user, however many sessions meet its cause."""
    LOG.warning("%s", message)


@functools.cache
def has_driver() -> bool:
    """Whether NVIDIA's driver is on this machine (a GPU may still be missing)."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


@functools.cache
def find_libraries() -> None:
    """Load CUDA and cuDNN from pip's nvidia packages, where the loader does not look by itself.

    onnxruntime.preload_dlls (since 1.21) prints what it does not find; that is no news here, the
    system's own may be found later.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(AttributeError):
        ort.preload_dlls()


def why_not(provider: str) -> str:
    """Why a provider did not start, and how to mend it. Only to be asked after it failed."""
    name = provider.removesuffix("ExecutionProvider").lower()
    library = Path(ort.__file__).parent / "capi" / SUFFIX.format(name)
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        missing = str(error).split(": ")[0]
    else:
        return "it found no GPU that it can use; see nvidia-smi"
    if "nvinfer" in missing:
        return f"{missing} is missing: install TensorRT"
    return f'{missing} is missing: pip install "onnxruntime-gpu[cuda,cudnn]"'


def block_rows(version: str) -> dict[str, int]:
    """Most rows that MatMulNBits multiplies quickly on CUDA, by format, in a version of onnxruntime."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    return dict(BATCHED_ROWS) if numbers >= BATCHED_SINCE else dict.fromkeys(BATCHED_ROWS, 1)


def cuda_advice(recipe: Mapping[str, Any], version: str) -> list[str]:
    """What makes a bundle of this recipe slow on CUDA, in this version of onnxruntime."""
    if recipe.get("compute") != "float16":
        return [
            "this bundle computes in float32, for which CUDA has no attention: it runs on the CPU and "
            "the cache is copied at each step; convert with -r int4-gpu or -r fp16-gpu"
        ]
    rows, slow = block_rows(version), []
    for name in sorted(_flow_formats(recipe) & rows.keys()):
        if rows[name] < FLOW_ROWS:
            update = " or update onnxruntime" if BATCHED_ROWS[name] >= FLOW_ROWS else ""
            slow.append(
                f"onnxruntime {version} expands {name} weights for more than {rows[name]} rows, and "
                f"the flow head has {FLOW_ROWS}: convert with -r int4-gpu{update}"
            )
    return slow


def check_capture(recipe: Mapping[str, Any]) -> None:
    """Raise FlowvoxError where steps cannot be captured: all of their nodes must be CUDA's."""
    if recipe.get("compute") != "float16":
        raise FlowvoxError(
            "--device cuda-graph needs a bundle that computes in float16; convert with -r int4-gpu "
            "or -r fp16-gpu, or use --device cuda"
        )


def _flow_formats(recipe: Mapping[str, Any]) -> set[str]:
    rules = (rule for rule in recipe.get("rules", []) if isinstance(rule, Mapping))
    return {str(r.get("format")) for r in rules if fnmatchcase("flow", str(r.get("component")))}
