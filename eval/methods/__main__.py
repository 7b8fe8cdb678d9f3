"""`python -m flowvox.eval.methods CHECKPOINT -o FOLDER`: methods.md and three plots."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from flowvox.eval.methods.measure import Bench, Row
from flowvox.eval.methods.method import Method
from flowvox.eval.methods.onnx_tools import onnx_methods
from flowvox.eval.methods.others import bitsandbytes_methods, ggml_methods
from flowvox.eval.methods.ours import our_methods
from flowvox.eval.methods.page import page
from flowvox.eval.methods.plots import by_bits, by_layer, by_method
from flowvox.eval.suite import load_suite
from flowvox.files import write_beside
from flowvox.reference.checkpoint import Checkpoint

PACKAGES = {"optimum": "optimum", "bitsandbytes": "bitsandbytes"}  # by tool
PLOTS = {"methods-layers": by_layer, "methods-kl": by_method, "methods-bits": by_bits}


def every_method() -> Iterator[Method]:
    """Those whose tools are installed; says which are not."""
    for method in (*our_methods(), *onnx_methods(), *bitsandbytes_methods(), *ggml_methods()):
        package = PACKAGES.get(method.tool)
        if package is None or find_spec(package):
            yield method
        else:
            print(f"{method.tool} {method.name}: not measured, not installed", file=sys.stderr)


def main() -> None:
    """Measure all, write all."""
    parser = argparse.ArgumentParser(description="All methods on one model: table and plots.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--suite", default="standard")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(Checkpoint.open(options.checkpoint), load_suite(options.suite))
    rows: list[Row] = []
    for method in every_method():
        rows.append(row := bench.row(method))
        print(f"{row.tool} {row.name}: {row.damage.kld:.5f}", file=sys.stderr, flush=True)
    for name, draw in PLOTS.items():
        write_beside(options.out / f"{name}.svg", draw(rows).encode())
    model = f"{options.checkpoint.name} ({bench.source_hash[:12]})"
    text = page(rows, model, options.suite, bench.frames, list(PLOTS))
    write_beside(options.out / "methods.md", text.encode())


if __name__ == "__main__":
    main()
