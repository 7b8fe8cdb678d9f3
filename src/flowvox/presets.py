"""The named settings of the flow head's sampling, `--quality` (presets.toml)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal, get_args

from flowvox.errors import FlowvoxError
from flowvox.schedule import Sampling

Quality = Literal["fast", "balanced", "full"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)


def preset(quality: Quality) -> Sampling:
    """Raises FlowvoxError naming the presets."""
    if quality not in QUALITIES:
        raise FlowvoxError(f"quality is {quality!r}; it should be {', '.join(QUALITIES)}")
    return _presets()[quality]


@cache
def _presets() -> dict[str, Sampling]:
    text = (resources.files("flowvox") / "presets.toml").read_text("utf-8")
    return {
        name: Sampling(**row | {"guidance_interval": tuple(row["guidance_interval"])})
        for name, row in tomllib.loads(text).items()
    }
