"""The products of one frame, against known figures of the published model and against real graphs."""

from __future__ import annotations

import itertools
from collections import Counter

import onnx
import pytest
from tests.planner.conftest import recipe

from flowvox.bundle import Bundle
from flowvox.config import ModelConfig
from flowvox.embedded import embedded_bundle
from flowvox.planner import memory, speed, work
from flowvox.planner.work import Product, frame_products, nodes
from flowvox.runtime.plan import PIECE_FRAMES, chunk_sizes

FOLDED = {"Cast", "Identity", "Loop", "Constant"}


def layers(products: list[Product], stage: str) -> list[Product]:
    """Products of that stage with the whole layers' formats, heads and projections left out."""
    return [p for p in products if p.stage == stage and p.rule.format == "int4"]


def test_the_published_model_reads_these_weights(config: ModelConfig) -> None:
    """3.03 G backbone weights once, 349 M of the flow head seven times: 10.99 GB in 16 bits, less the
    first layer's query, key and value, which are read once."""
    products = frame_products(config, recipe("int4", "int4"), 7)
    backbone, flow = layers(products, "backbone"), layers(products, "flow")
    assert sum(p.weights for p in backbone) == pytest.approx(3.03e9, rel=0.01)
    assert sum(p.weights for p in flow) == pytest.approx(349e6, rel=0.01)
    prepared = [p for p in flow if p.times == 1]
    assert sum(p.weights for p in prepared) == 3072 * (4096 + 2 * 1024)
    assert {p.times for p in flow if p not in prepared} == {7}
    read = sum(p.weights * p.times for p in backbone + flow)
    assert 2 * (read + 6 * sum(p.weights for p in prepared)) == pytest.approx(10.99e9, rel=0.01)


def test_rows_of_the_flow_head(config: ModelConfig) -> None:
    flow = layers(frame_products(config, recipe("int4", "int4"), 7), "flow")
    assert Counter(p.rows for p in flow) == {7 + 1: 3, 6: 4 + 7 + 2, 2: 5}


def test_the_codec_runs_at_its_own_rates(config: ModelConfig) -> None:
    codec = [p for p in frame_products(config, recipe("int4", "int4"), 7) if p.stage == "codec"]
    assert {p.rows / work.CODEC_FRAMES for p in codec} == {1, 2, 4, 8}
    assert {p.times for p in codec} == {1 / work.CODEC_FRAMES}


def test_steps_change_the_flow_head_only(config: ModelConfig) -> None:
    few, many = (frame_products(config, recipe("int4", "int4"), n) for n in (4, 7))
    changed = {a.stage for a, b in zip(few, many, strict=True) if a != b}
    assert changed == {"flow"}


def test_the_counts_of_nodes_are_those_of_the_graphs() -> None:
    bundle = Bundle.unchecked(embedded_bundle())
    found: Counter[str] = Counter()
    for name, stage in (("backbone", "backbone"), ("flow", "flow"), ("codec_decoder", "codec")):
        model = onnx.load(str(bundle.path / f"{name}.onnx"), load_external_data=False)
        pending = [model.graph]
        while pending:
            graph = pending.pop()
            found[stage] += sum(node.op_type not in FOLDED for node in graph.node)
            inner = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
            pending.extend(inner)
    counted = nodes(bundle.config, 1)
    counted["codec"] *= work.CODEC_FRAMES
    for stage, count in counted.items():
        assert count == pytest.approx(found[stage], rel=0.3), stage


def test_constants_shared_with_the_runtime() -> None:
    sizes = list(itertools.islice(chunk_sizes(), 20))
    assert sizes[0] == speed.FIRST_FRAMES
    assert sizes[-1] == work.CODEC_FRAMES
    assert memory.FRAMES == PIECE_FRAMES
