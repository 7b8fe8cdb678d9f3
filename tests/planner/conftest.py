"""The 4B model by its published sizes: the planner needs no weights."""

from __future__ import annotations

import pytest

from flowvox.config import ModelConfig
from flowvox.planner.published import shape_config
from flowvox.recipe import Recipe


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    return shape_config("4b")


def recipe(backbone: str, flow: str, block: int = 32) -> Recipe:
    """Backbone and flow layers as given, the rest in float16."""

    def rule(fmt: str) -> dict[str, object]:
        return {"format": fmt, "block": block} if fmt in {"int8", "int4"} else {"format": fmt}

    rules = [
        {"component": "backbone"} | rule(backbone),
        {"component": "flow", "tensor": "*.layers.*"} | rule(flow),
        {"component": "*", "format": "float16"},
    ]
    return Recipe.from_dict({"version": 1, "name": f"{backbone}-{flow}", "rules": rules}, "test")
