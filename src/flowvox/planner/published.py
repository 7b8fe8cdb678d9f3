"""The planner against published speeds of the 4B model."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from flowvox.config import ModelConfig
from flowvox.planner.devices import VERSION, load_device
from flowvox.planner.speed import predict
from flowvox.recipe import Recipe

# The largest error of a prediction that may be called that: in docs/devices/README.md, and tested.
ALLOWED = {"calibrates": 0.02, "validates": 0.25}


@dataclass(frozen=True)
class Case:
    """One published measurement (planner/published.toml) and what the planner says."""

    system: str
    device: str
    storage: str
    steps: int
    role: str
    note: str
    source: str
    published: float
    predicted: float

    @property
    def error(self) -> float:
        """(predicted - published) / published."""
        return self.predicted / self.published - 1


def published_cases() -> Iterator[Case]:
    """Every case of the table, predicted."""
    text = (resources.files("flowvox") / "planner" / "published.toml").read_text("utf-8")
    data = tomllib.loads(text)
    assert data["version"] == VERSION
    config = shape_config("4b")
    for row in data["case"]:
        rules = [
            {"component": "backbone", "format": row["backbone"]},
            {"component": "flow", "tensor": "*.layers.*", "format": row["flow"]},
            {"component": "*", "format": "float16"},
        ]
        recipe = Recipe.from_dict({"version": 1, "name": "peer", "rules": rules}, row["system"])
        device = load_device(row["device"])
        yield Case(
            system=row["system"],
            device=device.title,
            storage=f"{row['backbone']} + {row['flow']}",
            steps=row["steps"],
            role=row["role"],
            note=row["note"],
            source=row["source"],
            published=row["rtf"],
            predicted=predict(device, config, recipe, row["steps"]).rtf,
        )


def shape_config(shape: str) -> ModelConfig:
    """The sizes of a shipped shape, "4b" or "tiny"."""
    text = (resources.files("flowvox") / "shapes" / f"{shape}.json").read_text("utf-8")
    return ModelConfig.from_dict(json.loads(text), shape)
