"""Error by layer, by method and by bit: standalone SVG for Markdown pages."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowvox.eval.methods.measure import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Those of equal size whose layers are drawn: each idea once, and the best of other tools.
LAYERED = (
    "int4/32 round", "int4/32 search", "int4/32 imatrix", "int4/32 gptq", "int4/32 gptq, rotated",
    "k_quant", "NF4",
)  # fmt: skip
FAMILIES = (  # (label, what the names begin with, what they end with)
    ("blocks, search", ("int", "w8a8"), "search"),
    ("blocks, gptq", ("int", "w8a8"), "gptq"),
    ("ggml by llama.cpp", ("Q",), ""),
)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "flowvox",
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


class Picture:
    """`axes` to draw on inside the block of `picture`, `svg` after it."""

    def __init__(self, axes: Axes) -> None:
        self.axes, self.svg = axes, ""


@contextmanager
def picture(width: float, height: float, title: str, across: str, up: str) -> Iterator[Picture]:
    """An empty plot of so many inches; the same drawing gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasSVG(figure)
        result = Picture(figure.add_subplot(title=title, xlabel=across, ylabel=up))
        yield result
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    result.svg = file.getvalue()


def by_layer(rows: Sequence[Row]) -> str:
    """Relative error of the outputs of every group, a line per method of equal size."""
    title = "Error of the outputs, four bits"
    with picture(9, 3.6, title, "", "relative error") as plot:
        for row in (row for row in rows if row.name in LAYERED):
            plot.axes.plot(
                list(row.errors), list(row.errors.values()), "o-", ms=3, lw=1, label=_name(row)
            )
        plot.axes.set_yscale("log")
        plot.axes.tick_params("x", rotation=90, labelsize=7)
        plot.axes.legend(fontsize=7, ncols=2)
    return plot.svg


def by_method(rows: Sequence[Row]) -> str:
    """KL divergence of everything between 4 and 5 bits, best first."""
    chosen = sorted((r for r in rows if 4.4 < r.bits <= 5.01), key=lambda r: -r.damage.kld)
    title = "Semantic KL divergence, 4.5 to 5 bits a weight"
    with picture(7, 0.6 + 0.2 * len(chosen), title, "nats a frame", "") as plot:
        labels = [f"{_name(row)} ({row.bits:.2f})" for row in chosen]
        colours = ["tab:blue" if row.tool == "flowvox" else "tab:orange" for row in chosen]
        plot.axes.barh(labels, [row.damage.kld for row in chosen], color=colours)
        plot.axes.tick_params("y", labelsize=7)
        plot.axes.margins(y=0.01)
    return plot.svg


def by_bits(rows: Sequence[Row]) -> str:
    """KL divergence against bits: families as lines, everything as points."""
    title = "Semantic KL divergence against bits a weight"
    with picture(7, 4, title, "bits a weight", "nats a frame") as plot:
        for ours, colour in ((True, "tab:blue"), (False, "tab:orange")):
            some = [row for row in rows if (row.tool == "flowvox") == ours]
            label = "flowvox" if ours else "other tools"
            plot.axes.plot([r.bits for r in some], [r.damage.kld for r in some], "o", ms=4,
                           color=colour, alpha=0.6, label=label)  # fmt: skip
        for label, first, last in FAMILIES:
            line = sorted((r.bits, r.damage.kld) for r in rows
                          if r.name.startswith(first) and r.name.endswith(last)
                          and (last or r.tool == "llama.cpp"))  # fmt: skip
            if len(line) > 1:
                plot.axes.plot(*zip(*line, strict=True), "-", lw=1, label=label)
        plot.axes.set_yscale("log")
        plot.axes.legend(fontsize=7)
    return plot.svg


def _name(row: Row) -> str:
    return row.name if row.tool == "flowvox" else f"{row.tool} {row.name}"
