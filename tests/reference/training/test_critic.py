"""The critics tell recorded from decoded, and teach the decoder without learning from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from flowvox.reference.training.critic import Critics, all_critics
from flowvox.reference.training.locked.critics import envelope_critics

torch.manual_seed(0)
RECORDED = 0.1 * torch.randn(2, 9600)
DECODED = torch.sin(torch.arange(9600) / 20).repeat(2, 1) / 5
BOTH = pytest.mark.parametrize("made", [all_critics, envelope_critics])


@BOTH
def test_critics_learn_the_difference(made: Callable[[], Critics]) -> None:
    critics = made()
    optimizer = torch.optim.AdamW(critics.parameters(), 1e-3)
    before = critics.judge(DECODED, RECORDED).item()
    for _ in range(12):
        optimizer.zero_grad()
        critics.judge(DECODED, RECORDED).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert critics.judge(DECODED, RECORDED).item() < before / 2


@BOTH
def test_only_the_output_is_told_how_to_please(made: Callable[[], Critics]) -> None:
    critics, output = made(), DECODED.clone().requires_grad_()
    terms = critics.please(output, RECORDED)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert output.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in critics.parameters())
    assert all(parameter.requires_grad for parameter in critics.parameters())


@BOTH
def test_the_recording_itself_has_all_features(made: Callable[[], Critics]) -> None:
    assert made().please(RECORDED, RECORDED)["features"].item() == 0
