"""A table of bundle sizes: `python -m flowvox.eval.sizes BUNDLE...`, the last line of make quantize."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flowvox.bundle import Bundle


def main() -> None:
    """Print size and bits per weight of each bundle, by component."""
    bundles = [Bundle.open(Path(argument), verify=False) for argument in sys.argv[1:]]
    names = list(dict.fromkeys(name for b in bundles for name in b.manifest["components"]))
    table = Table("bundle", "MB", *(f"{name}\nbits/weight" for name in names))
    for bundle in bundles:
        components = bundle.manifest["components"]
        bits = [
            f"{components[name]['bits_per_weight']:.2f}" if name in components else "-"
            for name in names
        ]
        table.add_row(bundle.path.name, f"{bundle.bytes / 1e6:.1f}", *bits)
    Console(width=max(Console().width, 100)).print(table)


if __name__ == "__main__":
    main()
