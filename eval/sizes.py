"""A table of sizes: `python -m flowvox.eval.sizes ARTIFACT...`, the last lines of make quantize."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flowvox.bundle import Bundle
from flowvox.tensors import component_of

WIDTH = 100  # columns, where the terminal has fewer or there is none


def measured(path: Path) -> tuple[int, dict[str, float]]:
    """(bytes, stored bits per weight by component) of a bundle or GGUF file."""
    if path.suffix != ".gguf":
        bundle = Bundle.open(path, verify=False)
        components = bundle.manifest["components"]
        return bundle.bytes, {name: part["bits_per_weight"] for name, part in components.items()}
    from flowvox.exporters.gguf.reader import GgufCheckpoint

    file = GgufCheckpoint(path)
    weights: dict[str, int] = {}
    stored: dict[str, int] = {}
    for name, shape in file.shapes.items():
        if component := component_of(name):
            weights[component] = weights.get(component, 0) + math.prod(shape)
            stored[component] = stored.get(component, 0) + file.stored_bytes(name)
    return path.stat().st_size, {name: 8 * stored[name] / weights[name] for name in weights}


def table(paths: list[Path]) -> Table:
    """A row for each artifact, a column for each component that any of them has."""
    rows = {path: measured(path) for path in paths}
    names = list(dict.fromkeys(name for _, bits in rows.values() for name in bits))
    found = Table(caption="MB, then bits per weight by component")
    found.add_column("artifact", no_wrap=True)
    for name in ("MB", *names):
        found.add_column(name.replace("_", "\n"), justify="right")
    for path, (size, bits) in rows.items():
        cells = (f"{bits[name]:.2f}" if name in bits else "-" for name in names)
        found.add_row(path.name, f"{size / 1e6:.1f}", *cells)
    return found


def main() -> None:
    """Print the table."""
    shown = table([Path(argument) for argument in sys.argv[1:]])
    Console(width=max(Console().width, WIDTH)).print(shown)


if __name__ == "__main__":
    main()
