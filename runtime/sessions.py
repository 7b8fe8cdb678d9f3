"""onnxruntime sessions of a bundle, checked against the contract when they open."""

from __future__ import annotations

import os

import onnxruntime as ort

from flowvox.bundle import Bundle
from flowvox.errors import BundleError
from flowvox.graphs import GraphSpec
from flowvox.runtime.providers import Provider


def physical_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_session(
    bundle: Bundle, spec: GraphSpec, providers: list[Provider], threads: int
) -> ort.InferenceSession:
    """The session of one graph. Raises BundleError if the file is not the graph it should be."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads sleep: a frame alternates between three sessions, and spinning in the two that
    # wait would take the cores from the one that works.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    file = bundle.file(f"{spec.name}.onnx")
    bundle.file(f"{spec.name}.onnx.data")
    try:
        session = ort.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises bare C++ exceptions
        first = str(error).strip().splitlines()[0]
        raise BundleError(f"{file}: onnxruntime cannot load it ({first})") from None
    inputs = [i.name for i in session.get_inputs()]
    outputs = [o.name for o in session.get_outputs()]
    expected = [s.name for s in spec.inputs], [s.name for s in spec.outputs]
    if (inputs, outputs) != expected:
        raise BundleError(f"{file}: its inputs or outputs are not those of the manifest")
    return session
