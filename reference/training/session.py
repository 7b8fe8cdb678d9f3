"""What every training loop shares: resumable checkpoints, a log, a moving average of the weights."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flowvox.reference.training.optim import Optimizers

SAVE_EVERY = 240  # seconds


class Session:
    """One training run with a budget in minutes; the learning rate falls with the share used.

    The budget counts the time spent in steps, over all interruptions together.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimizers: Optimizers,
        minutes: float,
        decay: float,
        beside: Mapping[str, nn.Module | torch.optim.Optimizer] | None = None,
    ) -> None:
        """beside: what else is trained and is to be resumed, by name; it is not averaged."""
        folder.mkdir(parents=True, exist_ok=True)
        self.beside = dict(beside or {})
        self.folder, self.model, self.optimizers = folder, model, optimizers
        self.budget, self.decay = minutes * 60, decay
        self.number, self.seconds = 0, 0.0
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        file = folder / "latest.pt"
        if file.exists():
            device = next(model.parameters()).device
            state = torch.load(file, weights_only=True, map_location=device)
            model.load_state_dict(state["model"])
            optimizers.load_state_dict(state["optimizers"])
            self.average = state["average"]
            self.number, self.seconds = state["number"], state["seconds"]
            for name, part in self.beside.items():
                part.load_state_dict(state[name])
        floating = [(k, v) for k, v in model.state_dict().items() if v.is_floating_point()]
        self._followed = [v for _, v in floating]
        self._follow = [self.average[k] for k, _ in floating]
        self._clock = self._saved = time.monotonic()
        self._asked_to_stop = False
        signal.signal(signal.SIGTERM, self._stop_after_step)

    def _stop_after_step(self, number: int, frame: object) -> None:
        self._asked_to_stop = True

    @property
    def progress(self) -> float:
        """Share of the time budget used, 0 to 1."""
        return min(1.0, self.seconds / self.budget)

    def step(self) -> None:
        """Clip, update, average, and save now and then. Call after backward().

        SIGTERM makes this step the last one.
        """
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizers.step(self.number, self.progress)
        self.number += 1
        rate = min(self.decay, (1 + self.number) / (20 + self.number))
        torch._foreach_lerp_(self._follow, self._followed, 1 - rate)
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now
        if self._asked_to_stop or now - self._saved > SAVE_EVERY:
            self.save()
        if self._asked_to_stop:
            raise SystemExit(0)

    def save(self) -> None:
        """Write latest.pt (everything to resume) beside and rename."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "average": self.average,
            "number": self.number,
            "seconds": self.seconds,
            **{name: part.state_dict() for name, part in self.beside.items()},
        }
        torch.save(state, self.folder / "latest.partial")
        os.replace(self.folder / "latest.partial", self.folder / "latest.pt")
        self._saved = time.monotonic()

    def log(self, **values: Any) -> None:
        """Append a line to log.jsonl and print it."""
        row = {"step": self.number, "minutes": round(self.seconds / 60, 2)}
        row |= {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(self.folder.name, json.dumps(row), flush=True)
