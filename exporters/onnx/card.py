"""The model card that every bundle carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowvox.adapter import AdapterRecord, described
from flowvox.recipe import Recipe

NOTICES = {
    "cc-by-nc-4.0": "The weights are under CC BY-NC 4.0: no commercial use, credit Mistral AI.",
}


def model_card(
    licence: str,
    recipe: Recipe,
    components: dict[str, dict[str, Any]],
    adapters: Sequence[AdapterRecord] = (),
) -> str:
    """Markdown with the source's licence in the front matter."""
    rows = "\n".join(
        f"| {name} | {entry['parameters']:,} | {entry['bytes']:,} | {entry['bits_per_weight']} |"
        for name, entry in components.items()
    )
    notice = NOTICES.get(licence, f"The weights keep the licence of their source: {licence}.")
    if adapters:
        lines = "\n".join(f"* {line}" for line in described(adapters))
        notice += (
            "\n\nAdapters were merged before quantization; each has a licence of its own, and "
            f"where that is unknown, its author has to be asked:\n\n{lines}"
        )
    return f"""---
license: {licence}
tags: [text-to-speech, onnx, voxtral, flowvox]
---
# flowvox bundle, recipe `{recipe.name}`

{recipe.description}

{notice}

| component | parameters | bytes | bits per weight |
|---|---:|---:|---:|
{rows}

Run it: `flowvox say "Hello." -b <this folder> -o hello.wav`
"""
