"""A small graph builder over onnx.helper: nodes by call, weights streamed to external data.

A weight is written to `<graph>.onnx.data` the moment it is placed and then forgotten, so memory
holds one tensor at a time whatever the size of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from flowvox import __version__
from flowvox.exporters.onnx.placement import GraphWeights
from flowvox.graphs import GraphSpec, TensorSpec
from flowvox.quantizers.weights import (
    BlockWeights,
    Bnb4Weights,
    ByteWeights,
    ChannelWeights,
    DynamicWeights,
    FloatWeights,
)

OPSET, MICROSOFT, IR_VERSION = 21, "com.microsoft", 10
ALIGNMENT = 64  # bytes; keeps mapped weights aligned for vector loads
TINY = 1e-30
INLINE_BYTES = 1024  # smaller constants stay in the .onnx file
ACCURACY_LEVEL = 4  # int8 activations; the only level that is fast for 8-bit blocks (facts: x100)
DTYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int8": TensorProto.INT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}

# Nodes that stay in float16 where their first inputs are (None: all of them). They move values, or
# sum them in float32; whatever else is computed from a float16 value is computed in float32.
HALF_INPUTS = {
    "MatMul": None,
    "MatMulNBits": 1,
    "GroupQueryAttention": 3,
    "MultiHeadAttention": 3,
    "Sigmoid": 1,
    "Concat": None,
    **dict.fromkeys(("Expand", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"), 1),
}

Array = NDArray[Any]


class GraphBuilder:
    """Collects the nodes of one graph; `save` writes `<name>.onnx` beside its data file.

    half: multiply matrices that are stored in float16 or in blocks in float16. The builder knows which
    values are float16 and casts them where a node needs float32.
    """

    def __init__(
        self, spec: GraphSpec, folder: Path, weights: GraphWeights, *, half: bool = False
    ) -> None:
        self.spec, self.folder, self.weights, self.half = spec, folder, weights, half
        self._halves: set[str] = set()  # of the cache, attention itself knows the type
        self._casts: dict[str, str] = {}  # float32 of a float16 value and the reverse
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._count = 0
        self._data: BinaryIO | None = None
        self._widened: set[str] = set()  # weights stored in half whose Cast is in sight
        self._bytes: dict[str, tuple[str, str]] = {}  # values quantized to 8 bits
        self.dynamic: list[str] = []  # MatMul nodes that `quantize_dynamic` is to make integer

    def __enter__(self) -> GraphBuilder:
        self._data = (self.folder / f"{self.spec.name}.onnx.data").open("wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._data is not None
        self._data.close()

    def op(
        self, kind: str, *inputs: str, domain: str = "", half: bool = False, **attributes: Any
    ) -> str:
        """Append a node with one output and return the output's name."""
        return self.ops(kind, *inputs, outputs=1, domain=domain, half=half, **attributes)[0]

    def ops(
        self,
        kind: str,
        *inputs: str,
        outputs: int,
        named_outputs: Sequence[str] = (),
        domain: str = "",
        half: bool = False,
        **attributes: Any,
    ) -> list[str]:
        """Append a node with several outputs; return their names.

        `named_outputs` follow the returned ones and are outputs of the graph itself, with no copy in
        between: the runtime binds them to memory of its own. half: the node may compute in float16
        where all inputs are, though its kind is none of HALF_INPUTS.
        """
        stays = HALF_INPUTS.get(kind, None if half else 0)
        narrow = bool(inputs[:stays]) and self._halves.issuperset(inputs[:stays])
        if not narrow:
            inputs = tuple(self.wide(value) for value in inputs)
        self._count += 1
        title = f"{kind}_{self._count}"
        names = [f"{title}.{i}" if i else title for i in range(outputs)]
        every = [*names, *named_outputs]
        self._nodes.append(
            helper.make_node(kind, list(inputs), every, title, domain=domain, **attributes)
        )
        if narrow:
            self._halves.update(names)
        return names

    def narrow(self, value: str) -> str:
        """`value` in float16."""
        return value if value in self._halves else self._cast(value, "float16")

    def wide(self, value: str) -> str:
        """`value`, in float32 if it is float16."""
        return self._cast(value, "float32") if value in self._halves else value

    def fitting(self, value: str) -> str:
        """`value` in the type that products and attention compute in."""
        return self.narrow(value) if self.half else value

    def _cast(self, value: str, dtype: str) -> str:
        if value not in self._casts:
            name = f"{value}.{dtype}"
            self._nodes.append(helper.make_node("Cast", [value], [name], name, to=DTYPES[dtype]))
            self._casts[value], self._casts[name] = name, value
            if dtype == "float16":
                self._halves.add(name)
        return self._casts[value]

    def rename(self, value: str, output: str) -> None:
        """Make `value` the graph output `output`."""
        value = self.wide(value)
        self._nodes.append(helper.make_node("Identity", [value], [output], f"output_{output}"))

    def constant(self, value: Array | Sequence[int] | Sequence[float] | float) -> str:
        """A small constant; equal constants are shared. Ints are int64, floats float32."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"const.{array.dtype}.{array.shape}.{array.tobytes().hex()}"
        if len(name) > 120:
            name = f"const.{len(self._initializers)}"
        return self.store(name, array)

    def store(self, name: str, array: Array) -> str:
        """Place an array as initializer `name`, external unless it is small."""
        if name in self._initializers:
            return name
        array = np.require(array, requirements="C")  # ascontiguousarray would add an axis to 0-d
        if array.nbytes <= INLINE_BYTES:
            self._initializers[name] = onnx.numpy_helper.from_array(array, name)
            return name
        assert self._data is not None
        self._data.write(b"\0" * (-self._data.tell() % ALIGNMENT))
        tensor = TensorProto(name=name, data_type=DTYPES[array.dtype.name], dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        location = {
            "location": f"{self.spec.name}.onnx.data",
            "offset": self._data.tell(),
            "length": array.nbytes,
        }
        for key, value in location.items():
            tensor.external_data.add(key=key, value=str(value))
        self._data.write(array.data)
        self._initializers[name] = tensor
        return name

    def parameter(self, name: str) -> str:
        """A checkpoint vector or convolution as float32, stored as the recipe says."""
        if name in self._initializers:
            return name
        if name in self._widened:
            return f"{name}.wide"
        return self._place_float(name, self.weights.floats(name))

    def folded_convolution(self, prefix: str) -> str:
        """The weight-normed convolution under `prefix`, folded, stored as the recipe says."""
        name, weights = f"{prefix}weight", self.weights.convolution(prefix)
        if isinstance(weights, ByteWeights):
            return self._widen(name, weights.levels, weights.aligned_scales)
        return self._place_float(name, weights)

    def _place_float(self, name: str, weights: FloatWeights) -> str:
        if weights.values.dtype == np.float32:
            return self.store(name, weights.values)
        if name in self._widened:
            return f"{name}.wide"
        self._widened.add(name)
        half = self.store(f"{name}.half", weights.values)
        # onnxruntime folds the Cast when it loads: half is a storage format here.
        node = helper.make_node(
            "Cast", [half], [f"{name}.wide"], f"{name}.cast", to=TensorProto.FLOAT
        )
        self._nodes.append(node)
        return f"{name}.wide"

    def _widen(self, name: str, levels: Array, scales: Array) -> str:
        """levels * scales in float32; onnxruntime folds both nodes when it loads."""
        stored, factors = self.store(f"{name}.bytes", levels), self.store(f"{name}.scales", scales)
        wide, title = f"{name}.levels", f"{name}.wide"
        self._nodes.append(
            helper.make_node("Cast", [stored], [wide], f"{name}.cast", to=TensorProto.FLOAT)
        )
        self._nodes.append(helper.make_node("Mul", [wide, factors], [title], title))
        return title

    def linear(self, x: str, name: str) -> str:
        """x @ W^T for the checkpoint's [out, in] matrix `name`, in the format the recipe says."""
        weights = self.weights.matrix(name)
        if isinstance(weights, FloatWeights):
            if self.half and weights.values.dtype == np.float16:
                stored = self.store(name, weights.transposed().values)
                self._halves.add(stored)
                return self.op("MatMul", self.narrow(x), stored)
            return self.op("MatMul", x, self._place_float(name, weights.transposed()))
        if isinstance(weights, ByteWeights):
            turned = self._widen(name, weights.levels.T, weights.scales)
            return self.op("MatMul", x, turned)
        if isinstance(weights, ChannelWeights):
            return self._channels(x, name, weights)
        if isinstance(weights, Bnb4Weights):
            return self._bnb4(x, name, weights)
        if isinstance(weights, DynamicWeights):
            product = self.op(
                "MatMul", x, self._place_float(name, FloatWeights(weights.values).transposed())
            )
            self.dynamic.append(product)  # a node is called as its first output
            return product
        return self._blocks(x, name, weights)

    def composed(self, x: str, outer: Sequence[str], scale: str, inner: str) -> str:
        """x through `inner`, a norm's `scale` and all `outer` matrices, as one product."""
        weights = self.weights.composed(outer, scale, inner)
        return self.op("MatMul", x, self._place_float(f"{inner}.composed", weights.transposed()))

    def _blocks(self, x: str, name: str, weights: BlockWeights) -> str:
        packed = self.store(f"{name}.q{weights.bits}", weights.packed)
        if self.half:
            stored = FloatWeights.stored(weights.scales.astype(np.float32), half=True)
            scales = self.store(f"{name}.scales", stored.values)
        else:
            scales = self._place_float(f"{name}.scales", FloatWeights(weights.scales))
        zeros = []
        if weights.zeros is not None:
            zeros = [self.store(f"{name}.zeros", weights.packed_zeros())]
        return self.op(
            "MatMulNBits",
            self.fitting(x),
            packed,
            scales,
            *zeros,
            domain=MICROSOFT,
            K=weights.columns,
            N=len(weights.packed),
            bits=weights.bits,
            block_size=weights.block,
            accuracy_level=ACCURACY_LEVEL,
        )

    def _channels(self, x: str, name: str, weights: ChannelWeights) -> str:
        levels = self.store(f"{name}.w8", weights.levels.T)
        scales = self.store(f"{name}.scales", weights.scales)
        quantized, largest = self._rows_in_bytes(x)
        step, middle = self._byte_grid()
        product = self.op(
            "MatMulIntegerToFloat",
            quantized,
            levels,
            step,
            scales,
            middle,
            domain=MICROSOFT,
        )
        return self.op("Mul", product, largest)

    def _rows_in_bytes(self, x: str) -> tuple[str, str]:
        """(levels, largest): x ~ (levels - 128) / 127 * largest, with one `largest` per row.

        Matrices with the same input share them. A row of zeros stays one: TINY is no activation.
        """
        if x not in self._bytes:
            largest = self.op("ReduceMax", self.op("Abs", x), self.constant([-1]), keepdims=1)
            largest = self.op("Max", largest, self.constant(TINY))
            levels = self.op("QuantizeLinear", self.op("Div", x, largest), *self._byte_grid())
            self._bytes[x] = levels, largest
        return self._bytes[x]

    def _byte_grid(self) -> tuple[str, str]:
        """Step and zero point of levels that cover [-1, 1]."""
        return self.constant(1 / 127), self.constant(np.array(128, dtype=np.uint8))

    def _bnb4(self, x: str, name: str, weights: Bnb4Weights) -> str:
        packed = self.store(f"{name}.{weights.kind}", weights.packed)
        absmax = self.store(f"{name}.absmax", weights.absmax)
        return self.op(
            "MatMulBnb4",
            x,
            packed,
            absmax,
            domain=MICROSOFT,
            K=weights.columns,
            N=weights.rows,
            block_size=weights.block,
            quant_type=("fp4", "nf4").index(weights.kind),
        )

    def body(self) -> GraphBuilder:
        """A builder for a Loop body: own nodes, this graph's weights."""
        inner = GraphBuilder(self.spec, self.folder, self.weights, half=self.half)
        inner._halves = self._halves
        inner._initializers, inner._data = self._initializers, self._data
        inner.dynamic = self.dynamic
        inner._widened = set(self._widened)
        inner._count = 1_000_000
        return inner

    def body_graph(
        self, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> onnx.GraphProto:
        """The nodes of a `body()` builder as a subgraph."""
        return helper.make_graph(self._nodes, name, value_infos(inputs), value_infos(outputs))

    def save(self) -> None:
        """Write the .onnx file. Every output of the contract has been named with `rename`."""
        graph = helper.make_graph(
            self._nodes,
            f"flowvox.{self.spec.name}",
            value_infos(self.spec.inputs),
            value_infos(self.spec.outputs),
            list(self._initializers.values()),
        )
        model = helper.make_model(
            graph,
            producer_name="flowvox",
            producer_version=__version__,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=IR_VERSION,
        )
        (self.folder / f"{self.spec.name}.onnx").write_bytes(model.SerializeToString())


def value_infos(specs: Sequence[TensorSpec]) -> list[onnx.ValueInfoProto]:
    """The contract's inputs or outputs as ONNX declares them."""
    return [helper.make_tensor_value_info(s.name, DTYPES[s.dtype], list(s.shape)) for s in specs]
