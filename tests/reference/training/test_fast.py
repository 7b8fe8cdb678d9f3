"""The training forward of the flow head is the reference forward."""

from __future__ import annotations

from importlib import resources

import torch

from flowvox.config import ModelConfig
from flowvox.reference.flow import FlowHead
from flowvox.reference.training.lm import fast_velocity


def test_fast_velocity_is_the_reference_velocity() -> None:
    config = ModelConfig.load(resources.files("flowvox") / "shapes" / "tiny.json")
    torch.manual_seed(0)
    flow = FlowHead(config).double()
    x, times = torch.randn(5, 36).double(), torch.rand(5).double()
    hidden = torch.randn(5, config.flow.input_dim).double()
    expected = flow.velocity(x, times, hidden)
    torch.testing.assert_close(fast_velocity(flow, x, times, hidden), expected)
