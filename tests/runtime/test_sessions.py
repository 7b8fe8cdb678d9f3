"""Sessions open only the graphs they should."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from flowvox.bundle import Bundle
from flowvox.errors import BundleError
from flowvox.graphs import FLOW, graph_specs
from flowvox.runtime.sessions import open_session, session_options, waiting


@pytest.fixture
def copy(micro_bundles: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(micro_bundles["fp32"], tmp_path / "bundle"))


def opens_flow(path: Path) -> None:
    """As the engine does, but whatever the manifest says of sizes and hashes."""
    bundle = Bundle.unchecked(path)
    open_session(bundle, graph_specs(bundle.config, encoder=False)[FLOW], "cpu", threads=1)


def test_the_graph_of_the_contract_opens(copy: Path) -> None:
    opens_flow(copy)


def rename_input(graph: onnx.GraphProto) -> None:
    rename_reads(graph)
    next(i for i in graph.input if i.name == "noise").name = "sound"


def rename_reads(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        node.input[:] = ["sound" if name == "noise" else name for name in node.input]
        for attribute in node.attribute:
            rename_reads(attribute.g)


def fix_batch(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.shape.dim[0].dim_param == "batch":
            value.type.tensor_type.shape.dim[0].dim_value = 1


def drop_output(graph: onnx.GraphProto) -> None:
    del graph.output[1]


@pytest.mark.parametrize("change", [rename_input, fix_batch, drop_output])
def test_another_signature_is_refused(
    copy: Path, change: Callable[[onnx.GraphProto], None]
) -> None:
    model = onnx.load(copy / "flow.onnx", load_external_data=False)
    change(model.graph)
    (copy / "flow.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="inputs or outputs"):
        opens_flow(copy)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x0a"])
def test_what_is_no_graph_is_one_line(copy: Path, content: bytes) -> None:
    (copy / "flow.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="cannot load") as caught:
        opens_flow(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["parent", "absolute", "link"])
def test_weights_outside_the_folder_are_refused(copy: Path, kind: str) -> None:
    """What onnxruntime promises and the bundle relies on."""
    outside = copy.parent / "outside.data"
    shutil.copyfile(copy / "flow.onnx.data", outside)
    location = {"parent": "../outside.data", "absolute": str(outside), "link": "linked.data"}[kind]
    (copy / "linked.data").symlink_to(outside)
    model = onnx.load(copy / "flow.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (copy / "flow.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="cannot load"):
        opens_flow(copy)


def test_threads_wait_awake_only_where_the_time_can_be_bounded() -> None:
    assert waiting("1.25.1") == {"session.intra_op.allow_spinning": "0"}
    bounded = waiting("1.26.0")
    assert bounded["session.intra_op.allow_spinning"] == "1"
    assert 0 < int(bounded["session.intra_op.spin_duration_us"]) < 1000


def test_between_runs_threads_sleep() -> None:
    """Processor time, not time: neighbours cannot make this fail."""
    weight = onnx.numpy_helper.from_array(np.ones((256, 256), dtype=np.float32), "weight")
    rows = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [64, 256])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [64, 256])
    node = onnx.helper.make_node("MatMul", ["x", "weight"], ["y"])
    graph = onnx.helper.make_graph([node], "product", [rows], [result], [weight])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10
    )
    session = ort.InferenceSession(model.SerializeToString(), session_options(threads=4))
    session.run(None, {"x": np.ones((64, 256), dtype=np.float32)})
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.02  # spinning as by default takes four times that
