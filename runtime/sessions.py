"""onnxruntime sessions of a bundle, checked against the contract when they open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort

from flowvox.bundle import Bundle
from flowvox.errors import BundleError
from flowvox.graphs import Axis, GraphSpec, TensorSpec
from flowvox.runtime.prepacked import LOG, find_prepacked
from flowvox.runtime.providers import CPU, Device, Provider, check_started, choose_providers

ORT_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "int8": "tensor(int8)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
}
# Since when onnxruntime can bound how long threads wait awake, and for how long they do here.
BOUNDED_SPINNING, SPIN_US = (1, 26), 100
Signature = list[tuple[str, str, list[Axis]]]


def open_session(
    bundle: Bundle, spec: GraphSpec, device: Device, threads: int
) -> ort.InferenceSession:
    """The session of one graph. Raises BundleError if the file is not the graph it should be.

    On the CPU the pre-packed form of the graph is opened where there is one. onnxruntime itself
    refuses weights outside the folder of the graph (1.32: absolute paths, "..", and links).
    """
    providers = choose_providers(device, spec.name)
    if providers == [CPU] and (prepacked := find_prepacked(bundle, spec.name)):
        try:
            return load_graph(prepacked, spec, session_options(threads), providers)
        except BundleError as error:
            LOG.warning("%s; the bundle's own graph is used", error)
    file = bundle.file(f"{spec.name}.onnx")
    session = load_graph(file, spec, session_options(threads), providers)
    check_started(providers, device, session)
    return session


def session_options(threads: int) -> ort.SessionOptions:
    """The options of every session of the runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in waiting(ort.__version__).items():
        options.add_session_config_entry(key, value)
    return options


def waiting(version: str) -> dict[str, str]:
    """Session options of a version of onnxruntime: how a thread waits for its part of a product.

    Awake for as long as the small nodes between two products take, then asleep: a frame alternates
    between three sessions, and the two that wait must not take the cores from the one that works.
    Where the time cannot be bounded, asleep at once. docs/performance.md, Threads.
    """
    if tuple(int(part) for part in version.split(".")[:2]) < BOUNDED_SPINNING:
        return {"session.intra_op.allow_spinning": "0"}
    return {
        "session.intra_op.allow_spinning": "1",
        "session.intra_op.spin_duration_us": str(SPIN_US),
    }


def load_graph(
    file: Path, spec: GraphSpec, options: ort.SessionOptions, providers: Sequence[Provider]
) -> ort.InferenceSession:
    """The session of the graph in `file`. Raises BundleError if it is not the one of `spec`."""
    try:
        session = ort.InferenceSession(str(file), options, providers=list(providers))
    except Exception as error:  # noqa: BLE001 - onnxruntime raises bare C++ exceptions
        first = str(error).strip().splitlines()[0]
        raise BundleError(f"{file}: onnxruntime cannot load it ({first})") from None
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
