"""A graph run in slices: the shipped nodes and weights, a bounded part of them in memory at a time.

A session holds a graph's weights once or twice over, widened to float32 where they are stored in half:
for the 4B backbone 4 to 25 GB. Consecutive nodes whose stored weights stay below a budget make a slice,
a model of its own over the same data file; what one slice computes feeds the next. Nodes that compute
from constants alone (the widening of halves) belong to the slices that use them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from flowvox.exporters.onnx.builder import value_infos
from flowvox.graphs import GraphSpec

BUDGET = 256 << 20  # bytes of stored weights that a slice holds
QUANTIZED = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
DATA_FOLDER = "session.model_external_initializers_file_folder_path"

Values = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Slice:
    """Consecutive nodes; needs: the values they take from outside, makes: those they compute."""

    nodes: list[onnx.NodeProto]
    needs: set[str]
    makes: set[str]


class SlicedGraph:
    """`<name>.onnx` of a bundle folder, to be run on the CPU."""

    def __init__(self, folder: Path, name: str, budget: int = BUDGET) -> None:
        self._folder = folder
        self._model = onnx.load(folder / f"{name}.onnx", load_external_data=False)
        self._weights = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self.slices = list(self._cut(budget))

    def keeps(self, spec: GraphSpec) -> bool:
        """Whether inputs and outputs are those of the contract, and all weights in the data file."""
        return (
            list(self._model.graph.input) == value_infos(spec.inputs)
            and list(self._model.graph.output) == value_infos(spec.outputs)
            and all(
                entry.value == f"{spec.name}.onnx.data"
                for tensor in self._weights.values()
                for entry in tensor.external_data
                if entry.key == "location"
            )
        )

    def run(
        self, outputs: Sequence[str], feeds: Sequence[Mapping[str, NDArray[Any]]]
    ) -> list[Values]:
        """The values `outputs` for each of `feeds`; every slice is loaded once."""
        runs = [dict(feed) for feed in feeds]
        for i, part in enumerate(self.slices):
            later = set(outputs).union(*(following.needs for following in self.slices[i + 1 :]))
            made = sorted(part.makes & later)
            if not made:
                continue
            session = self._session(part, runs[0], made)
            for values in runs:
                results = session.run(made, {name: values[name] for name in part.needs})
                values.update(zip(made, results, strict=True))
                for name in values.keys() - later:
                    del values[name]
            del session  # before the next one is loaded
        return runs

    def _cut(self, budget: int) -> Iterator[Slice]:
        constant: dict[str, onnx.NodeProto] = {}  # by output
        nodes: dict[str, onnx.NodeProto] = {}  # by first output
        held: set[str] = set()
        for node in self._model.graph.node:
            if names_used([node]) <= self._weights.keys() | constant.keys():
                constant |= dict.fromkeys(node.output, node)
                continue
            closure = _with_constants(node, constant)
            weights = names_used(closure.values()) & self._weights.keys()
            if nodes and self._bytes(held | weights) > budget:
                yield self._slice(list(nodes.values()))
                nodes, held = {}, set()
            nodes |= closure
            held |= weights
        yield self._slice(list(nodes.values()))

    def _slice(self, nodes: list[onnx.NodeProto]) -> Slice:
        makes = {name for node in nodes for name in node.output if name}
        return Slice(nodes, names_used(nodes) - makes - self._weights.keys(), makes)

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(_stored_bytes(self._weights[name]) for name in names)

    def _session(self, part: Slice, values: Values, outputs: list[str]) -> ort.InferenceSession:
        """The types of the inputs are those of the values at hand; onnxruntime infers the others."""
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(values[name].dtype), None
            )
            for name in sorted(part.needs)
        ]
        graph = helper.make_graph(
            part.nodes,
            "slice",
            inputs,
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [self._weights[name] for name in names_used(part.nodes) if name in self._weights],
        )
        model = helper.make_model(
            graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # an arena would keep what a slice has freed
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(DATA_FOLDER, str(self._folder))
        if not any(tensor.data_type in QUANTIZED for tensor in graph.initializer):
            # Packing pays in repeated runs, and doubles the memory. Quantized products need it:
            # without, they would run other kernels than the runtime's.
            options.add_session_config_entry("session.disable_prepacking", "1")
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def names_used(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Every value that the nodes read, their subgraphs' reads of outer values included."""
    names: set[str] = set()
    for node in nodes:
        names.update(name for name in node.input if name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                body = attribute.g
                own = {value.name for value in body.input}
                own.update(name for inner in body.node for name in inner.output)
                own.update(tensor.name for tensor in body.initializer)
                read = names_used(body.node) | {value.name for value in body.output}
                names |= read - own
    return names


def _with_constants(
    node: onnx.NodeProto, constant: Mapping[str, onnx.NodeProto]
) -> dict[str, onnx.NodeProto]:
    """The node after everything constant that it reads, directly or not, by first output."""
    before: dict[str, onnx.NodeProto] = {}
    for name in sorted(names_used([node]) & constant.keys()):
        before |= _with_constants(constant[name], constant)
    return before | {node.output[0]: node}


def _stored_bytes(tensor: onnx.TensorProto) -> int:
    itemsize = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return math.prod(tensor.dims) * int(itemsize)
