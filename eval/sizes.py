"""A table of sizes: `python -m flowvox.eval.sizes ARTIFACT...`, the last lines of make quantize."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flowvox.bundle import Bundle
from flowvox.source import stored_components

WIDTH = 100  # columns, where the terminal has fewer or there is none


def measured(path: Path) -> tuple[int, dict[str, float]]:
    """(bytes, stored bits per weight by component) of a bundle or GGUF file."""
    if path.suffix == ".gguf":
        from flowvox.exporters.gguf.reader import GgufCheckpoint

        size, components = path.stat().st_size, stored_components(GgufCheckpoint(path))
    else:
        bundle = Bundle.open(path, verify=False)
        size, components = bundle.bytes, bundle.manifest["components"]
    return size, {name: part["bits_per_weight"] for name, part in components.items()}


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
