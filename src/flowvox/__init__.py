"""flowvox: flow-matching speech models on small machines."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowvox.runtime.audio import Audio
    from flowvox.runtime.tts import TTS

__version__ = "0.1.0"
__all__ = ["TTS", "Audio", "__version__"]


def __getattr__(name: str) -> Any:
    """`flowvox.TTS` and `flowvox.Audio` are imported on first use: `import flowvox` is light."""
    homes = {"TTS": "flowvox.runtime.tts", "Audio": "flowvox.runtime.audio"}
    if name in homes:
        return getattr(import_module(homes[name]), name)
    raise AttributeError(f"module 'flowvox' has no attribute {name!r}")
