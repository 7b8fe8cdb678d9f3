"""onnxruntime sessions of a bundle, checked against the contract when they open."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime as ort

from flowvox.bundle import Bundle
from flowvox.errors import BundleError
from flowvox.graphs import Axis, GraphSpec, TensorSpec
from flowvox.runtime.providers import Device, check_started, choose_providers

ORT_TYPES = {"float32": "tensor(float)", "int32": "tensor(int32)", "int64": "tensor(int64)"}
Signature = list[tuple[str, str, list[Axis]]]


def open_session(
    bundle: Bundle, spec: GraphSpec, device: Device, threads: int
) -> ort.InferenceSession:
    """The session of one graph. Raises BundleError if the file is not the graph it should be.

    onnxruntime itself refuses weights outside the folder of the graph (1.32: absolute paths, "..",
    and links).
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads sleep: a frame alternates between three sessions, and spinning in the two that
    # wait would take the cores from the one that works.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    file = bundle.file(f"{spec.name}.onnx")
    providers = choose_providers(device)
    try:
        session = ort.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises bare C++ exceptions
        first = str(error).strip().splitlines()[0]
        raise BundleError(f"{file}: onnxruntime cannot load it ({first})") from None
    check_started(device, session)
    for found, declared in (
        (session.get_inputs(), spec.inputs),
        (session.get_outputs(), spec.outputs),
    ):
        if _found(found) != _declared(declared):
            raise BundleError(
                f"{file}: its inputs or outputs are not those of the manifest; make the bundle again"
            )
    return session


def _found(values: Sequence[ort.NodeArg]) -> Signature:
    return [(value.name, value.type, list(value.shape)) for value in values]


def _declared(specs: Sequence[TensorSpec]) -> Signature:
    return [(spec.name, ORT_TYPES[spec.dtype], list(spec.shape)) for spec in specs]
