"""flowvox: flow-matching speech models on small machines."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowvox.runtime.tts import TTS, Audio

__version__ = "0.1.0"
__all__ = ["TTS", "Audio", "__version__"]


def __getattr__(name: str) -> Any:
    """`flowvox.TTS` and `flowvox.Audio` are imported on first use: `import flowvox` is light."""
    if name in {"TTS", "Audio"}:
        return getattr(import_module("flowvox.runtime.tts"), name)
    raise AttributeError(f"module 'flowvox' has no attribute {name!r}")
