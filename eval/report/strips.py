"""The small drawing in each table cell: where the interval lies between no change and the margin.

Worse is always to the right, whatever direction a metric prefers.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvox.eval.report.schema import Number
from flowvox.eval.report.verdicts import Cell, Line

WIDTH = 100.0
ROOM = 1.15  # beyond the outermost mark
FARTHEST = 3.0  # margins; what lies beyond is drawn at the edge


@dataclass(frozen=True)
class Strip:
    """Horizontal positions, 0 to WIDTH; no change is in the middle."""

    low: float
    high: float
    point: float
    margin: float | None
    noise: tuple[float, float] | None


def strip(line: Line, cell: Cell) -> Strip | None:
    """The drawing of one cell on the scale that its whole line shares; None without a delta."""
    row, delta = cell.row, cell.row["delta"]
    limit = _limit(line)
    if delta is None or not limit:
        return None
    sign = -1.0 if line.metric["better"] == "higher" else 1.0

    def place(value: float) -> float:
        share = max(-1.0, min(1.0, sign * value / limit))
        return round(WIDTH * (0.5 + 0.5 * share), 2)

    def span(low: Number, high: Number) -> tuple[float, float] | None:
        if low is None or high is None:
            return None
        ends = sorted((place(low), place(high)))
        return ends[0], ends[1]

    low, high = span(row["low"], row["high"]) or (place(delta), place(delta))
    margin = line.metric["margin"]
    return Strip(
        low=low,
        high=high,
        point=place(delta),
        margin=None if margin is None else place(sign * abs(margin)),
        noise=span(line.floor["low"], line.floor["high"]) if line.floor else None,
    )


def _limit(line: Line) -> float:
    """What lies at the edges of the line's drawings; 0 where nothing differs."""
    marks = [cell.row[end] for cell in line.cells for end in ("delta", "low", "high")]
    if line.floor:
        marks += [line.floor["low"], line.floor["high"]]
    margin = abs(line.metric["margin"] or 0.0)
    farthest = max([margin, *(abs(mark) for mark in marks if mark is not None)])
    return ROOM * (min(farthest, FARTHEST * margin) if margin else farthest)
