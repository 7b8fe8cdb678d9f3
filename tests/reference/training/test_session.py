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


def test_an_opponent_goes_on_beside_it(tmp_path: Path) -> None:
    critic = nn.Linear(2, 1)
    running = Session(
        tmp_path, Model(), Optimizers(Model(), 1e-2), 1, decay=0.9, beside={"critic": critic}
    )
    running.save()
    other, model = nn.Linear(2, 1), Model()
    Session(tmp_path, model, Optimizers(model, 1e-2), 1, decay=0.9, beside={"critic": other})
    torch.testing.assert_close(other.state_dict(), critic.state_dict())


def test_every_weight_moves_at_its_pace() -> None:
    """Adam's first step is the learning rate, whatever the gradients' sizes; of it, a weight's share."""
    model = Model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pace = torch.tensor([[1.0, 0.5], [0.25, 0]])
    optimizers = Optimizers(model, 1e-2, warmup=1, paces={"layers.0.weight": pace})
    model(torch.tensor([[1.0, 100.0]])).sum().backward()  # type: ignore[no-untyped-call]
    optimizers.step(0, 0.0)
    after = model.state_dict()
    torch.testing.assert_close(
        after["layers.0.weight"], before["layers.0.weight"] - 1e-2 * pace, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(after["layers.0.bias"], before["layers.0.bias"])


def test_a_paced_training_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    """In four steps with an interruption as in four without."""
    paces = {"layers.0.weight": torch.tensor([[1.0, 0.5], [0.25, 0]]), "layers.0.bias": 0.1}

    def trained(model: Model, folder: Path, parts: tuple[int, ...]) -> dict[str, torch.Tensor]:
        for steps in parts:
            optimizers = Optimizers(model, 1e-2, warmup=1, paces=paces)
            running = Session(folder, model, optimizers, minutes=1e6, decay=0.9)
            for _ in range(steps):
                model(torch.tensor([[1.0, 2.0]])).square().sum().backward()  # type: ignore[no-untyped-call]
                running.step()
            running.save()
        return model.state_dict()

    first, second = Model(), Model()
    second.load_state_dict(first.state_dict())
    whole = trained(first, tmp_path / "whole", (4,))
    torch.testing.assert_close(trained(second, tmp_path / "parts", (2, 2)), whole)
