"""Asymmetric blocks through the whole export: they pass its checks, and cost what the plan says."""

from __future__ import annotations

from pathlib import Path

import onnx
from tests.conftest import export

from flowvox.bundle import Bundle

RECIPE = """
version: 1
name: zero-points
rules:
  - {component: backbone, tensor: "*norm.weight", format: float32}
  - {component: backbone, format: int4, symmetric: false}
  - {component: token_embeddings, format: int8}
  - {component: "*", format: float16}
"""


def test_blocks_with_zero_points(
    random_micro: Path, micro_bundles: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    out = export(random_micro, str(tmp_path / "recipe.yaml"), tmp_path / "bundle")
    assert Bundle.open(out).manifest["recipe"]["rules"][1]["symmetric"] is False
    nodes = onnx.load(out / "backbone.onnx", load_external_data=False).graph.node
    products = [node for node in nodes if node.op_type == "MatMulNBits"]
    assert products
    assert all(len(node.input) == 4 for node in products)
    errors = {
        path: Bundle.open(path).manifest["checks"]["backbone"]["relative_error"]["hidden"]
        for path in (out, micro_bundles["int4"])
    }
    assert errors[out] < errors[micro_bundles["int4"]]
