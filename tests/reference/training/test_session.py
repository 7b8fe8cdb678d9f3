"""What a training saved is where it goes on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.session import Session


class Model(nn.Module):
    """A matrix for Muon, a bias for AdamW."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.layers[0](x))


def session(folder: Path, model: nn.Module) -> Session:
    return Session(folder, model, Optimizers(model, 1e-2), minutes=1, decay=0.9)


def test_a_training_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    first = Model()
    running = session(tmp_path, first)
    for _ in range(3):
        first(torch.ones(1, 2)).square().sum().backward()  # type: ignore[no-untyped-call]
        running.step()
    running.save()
    second = Model()
    resumed = session(tmp_path, second)
    assert (resumed.number, resumed.seconds) == (3, running.seconds)
    torch.testing.assert_close(second.state_dict(), first.state_dict())
    torch.testing.assert_close(resumed.average, running.average)
    assert not torch.equal(
        resumed.average["layers.0.weight"], second.state_dict()["layers.0.weight"]
    )


def test_without_muon_every_number_moves_alike() -> None:
    """AdamW's first step is the learning rate, whatever the gradients' sizes."""
    model = Model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizers = Optimizers(model, 1e-2, warmup=1, muon=False)
    model(torch.tensor([[1.0, 100.0]])).sum().backward()  # type: ignore[no-untyped-call]
    optimizers.step(0, 0.0)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name] - 1e-2, atol=1e-5, rtol=0)
