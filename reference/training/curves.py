"""Stage `curves`: every log of a training as small plots over its minutes, curves.svg beside log.jsonl.

What to look at first, so that a bad run is stopped early: `held_accuracy` and `held_end` of the
language model rise within minutes, `held_error` (error of the sampled acoustic values / their variance)
falls, `held_hit` says whether attention is where the teacher speaks.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, COLUMNS = 2.6, 1.7, 4  # inches of a plot, plots in a row
AXES = {"step", "minutes"}


def read_log(file: Path) -> dict[str, list[tuple[float, float]]]:
    """(minutes, value) of everything that was logged, by name: what was held out first."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        for name in row.keys() - AXES:
            found.setdefault(name, []).append((row["minutes"], row[name]))
    return dict(sorted(found.items(), key=lambda item: (not item[0].startswith("held"), item[0])))


def draw(log: dict[str, list[tuple[float, float]]], file: Path) -> None:
    """One plot for each name, what was held out first."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "flowvox"}):
        rows = math.ceil(len(log) / COLUMNS)
        figure = Figure(figsize=(WIDTH * COLUMNS, HEIGHT * rows), layout="constrained")
        FigureCanvasSVG(figure)
        for k, (name, points) in enumerate(log.items(), start=1):
            axes: Any = figure.add_subplot(rows, COLUMNS, k)
            style = {"linewidth": 1, "marker": "." if len(points) < 20 else ""}
            axes.plot(*zip(*points, strict=True), **style)
            axes.set_title(name.replace("_", " "), fontsize=9)
            axes.tick_params(labelsize=7)
            axes.grid(linewidth=0.4)
        figure.supxlabel("minutes", fontsize=9)
        figure.savefig(file, format="svg", metadata={"Date": None})


def draw_all(work: Path) -> list[Path]:
    """curves.svg beside every log.jsonl below `work`; returns the pictures."""
    logs = sorted(work.rglob("log.jsonl"))
    for log in logs:
        draw(read_log(log), log.with_name("curves.svg"))
    return [log.with_name("curves.svg") for log in logs]
