"""What training computes is what the reference computes."""

from __future__ import annotations

from importlib import resources

import torch

from flowvox.config import ModelConfig
from flowvox.reference.backbone import Backbone
from flowvox.reference.flow import FlowHead
from flowvox.reference.layers import rope_table
from flowvox.reference.training.fast import embed_values, layer_rows, typed, velocity

CONFIG = ModelConfig.load(resources.files("flowvox") / "shapes" / "tiny.json")


def test_velocity() -> None:
    torch.manual_seed(0)
    flow = FlowHead(CONFIG).double()
    x, times = torch.randn(5, 36).double(), torch.rand(5).double()
    hidden = torch.randn(5, CONFIG.flow.input_dim).double()
    expected = flow.velocity(x, times, hidden)
    torch.testing.assert_close(velocity(flow, x, times, hidden), expected)


def test_rows_of_a_layer() -> None:
    torch.manual_seed(1)
    c = CONFIG.backbone
    layer = typed(Backbone(CONFIG).double().layers)[0]
    x, rows = torch.randn(2, 9, c.dim).double(), torch.rand(2, 9) < 0.5
    rope = rope_table(torch.arange(9), c.head_dim, c.rope_theta, x.dtype)
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    expected = layer(x, rope)[rows]
    torch.testing.assert_close(layer_rows(layer, x, rope, future, rows), expected)


def test_embedded_values() -> None:
    torch.manual_seed(2)
    backbone = Backbone(CONFIG).double()
    values = torch.randint(0, 23, (4, CONFIG.n_codebooks))
    torch.testing.assert_close(embed_values(backbone, values), backbone.embed_values(values))
