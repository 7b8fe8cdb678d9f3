"""The recipes that borrow other people's quantizers, where those are installed."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from tests.conftest import export


def operators(graph: onnx.GraphProto) -> set[str]:
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= operators(attribute.g)
    return found


@pytest.mark.parametrize(
    ("recipe", "package", "operator"),
    [
        ("nf4", "bitsandbytes", "MatMulBnb4"),
        ("int8-dynamic", "optimum.onnxruntime", "MatMulInteger"),
    ],
)
def test_their_operator_takes_over(
    random_micro: Path, tmp_path: Path, recipe: str, package: str, operator: str
) -> None:
    pytest.importorskip(package)
    bundle = export(random_micro, recipe, tmp_path / recipe)
    for name in ("backbone", "flow"):
        model = onnx.load(bundle / f"{name}.onnx", load_external_data=False)
        assert operator in operators(model.graph)
        assert model.producer_name == "flowvox"
