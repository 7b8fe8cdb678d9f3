"""Small line plots as inline SVG that takes its colours and its font from the page.

matplotlib draws with stand-in colours; in the SVG they become CSS variables, so that one drawing
serves the light and the dark theme. Text stays text.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowvox.eval.report.schema import Number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = 8  # --series-0 ... in the style sheet
MARKERS = "os^Dv>P*"
SIZE = (3.8, 2.4)  # inches; pages show it somewhat enlarged
INK, GRID, PAPER = "#f0f001", "#f0f002", "#f0f003"
_STAND_INS = {INK: "--muted", GRID: "--line", PAPER: "--card"} | {
    f"#f0f1{index:02x}": f"--series-{index}" for index in range(COLOURS)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "flowvox",
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
}


Dashes = str | tuple[float, Sequence[float]]


@dataclass(frozen=True)
class Series:
    """One bundle's line: `index` chooses colour and marker."""

    index: int
    values: Sequence[Number]


class Drawing:
    """Filled by `drawing`: `axes` to draw on inside the block, `svg` after it."""

    def __init__(self, figure: Figure, axes: Axes) -> None:
        self.figure, self.axes = figure, axes
        self.svg = ""


@contextmanager
def drawing(label: str, across: str, up: str) -> Iterator[Drawing]:
    """An empty plot with axis titles; `label` is what a screen reader says instead of it."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=SIZE, layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        result = Drawing(figure, figure.add_subplot(xlabel=across, ylabel=up))
        yield result
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    result.svg = _for_the_page(file.getvalue(), label)


def colour(index: int) -> str:
    """The stand-in of a bundle's colour; the ninth bundle shares the first one's."""
    return f"#f0f1{index % COLOURS:02x}"


def marker(index: int) -> str:
    """A matplotlib marker; colours and shapes together tell more bundles apart."""
    return MARKERS[index % len(MARKERS)]


def dashes(index: int) -> Dashes:
    """Every other line is dashed and lies on top, so that equal lines are both seen."""
    return (0, (4, 2)) if index % 2 else "solid"


def line_plot(series: Sequence[Series], label: str, across: str, up: str) -> str:
    """One line per series over 1, 2, 3 ...; logarithmic where values span two powers of ten."""
    from matplotlib.ticker import MaxNLocator

    lines = [(one.index, _array(one.values)) for one in series]
    known = np.concatenate([values[np.isfinite(values)] for _, values in lines] or [np.zeros(0)])
    if not len(known):
        return ""
    with drawing(label, across, up) as plot:
        for index, values in lines:
            steps = np.arange(1, len(values) + 1)
            plot.axes.plot(
                steps, values, color=colour(index), marker=marker(index), markersize=3.5,
                linewidth=1.4, linestyle=dashes(index), zorder=2 + index % 2 / 2,
            )  # fmt: skip
        if known.min() > 0 and known.max() > 100 * known.min():
            plot.axes.set_yscale("log")
        plot.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return plot.svg


def stairs_plot(
    edges: Sequence[float], series: Sequence[Series], filled: Sequence[Number] | None,
    label: str, across: str, up: str,
) -> str:  # fmt: skip
    """Histograms as outlines, over a grey filled one."""
    with drawing(label, across, up) as plot:
        if filled is not None:
            plot.axes.stairs(_array(filled), edges, fill=True, color=GRID)
        for one in series:
            plot.axes.stairs(
                _array(one.values), edges, color=colour(one.index), linewidth=1.6,
                linestyle=dashes(one.index), zorder=2 + one.index % 2 / 2,
            )  # fmt: skip
    return plot.svg


def _array(values: Sequence[Number]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _for_the_page(svg: str, label: str) -> str:
    """The <svg> element alone, scalable, without metadata and names of its own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    box = re.search(r'viewBox="[^"]*"', body)
    assert box is not None
    head = f'<svg {box[0]} role="img" aria-label="{html.escape(label)}"'
    body = re.sub(r"<svg[^>]*", lambda _: head, body, count=1)
    for stand_in, variable in _STAND_INS.items():
        body = body.replace(stand_in, f"var({variable})")
    return body
