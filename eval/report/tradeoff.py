"""Quality against what it costs, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowvox.eval.report.charts import GRID, INK, PAPER, colour, drawing, marker
from flowvox.eval.report.schema import BundleReport, Level, Metric, Report
from flowvox.eval.report.verdicts import baseline_of, compared, row_of

PLOTTED: tuple[Level, ...] = ("free-running", "teacher-forced", "codec")
LONGEST = 30  # letters of a text in a plot
# Where a label may stand around its point, in points; the first free place is taken.
_PLACES = ((7, -3), (7, 6), (7, -12), (-7, 6), (-7, -12), (-7, -3), (7, 15), (7, -21), (-7, 15))
_LETTER, _HEIGHT = 4.9, 9.0  # a label's size, in points


@dataclass(frozen=True)
class Point:
    """One bundle: what it costs, how good it is, and the interval of the latter."""

    index: int
    name: str
    cost: float
    quality: float
    low: float
    high: float


@dataclass(frozen=True)
class Tradeoff:
    """One metric's two plots; an SVG is empty where fewer than two bundles have both numbers."""

    title: str
    by_size: str
    by_rtf: str


def tradeoffs(report: Report) -> list[Tradeoff]:
    """For each quality level its first metric that is judged and differs between bundles."""
    found = []
    for level in PLOTTED:
        for key, metric in report["metrics"].items():
            judged = metric["margin"] is not None and metric["better"] != "none"
            if metric["level"] != level or not judged:
                continue
            by_size, by_rtf = (_points(report, key, by) for by in ("size", "rtf"))
            if len({point.quality for point in by_size}) < 2:  # one bundle, or nothing to see
                continue
            found.append(
                Tradeoff(
                    metric["title"],
                    _plot(by_size, metric, "size, MB"),
                    _plot(by_rtf, metric, "real-time factor") if len(by_rtf) > 1 else "",
                )
            )
            break
    return found


def front(points: Sequence[tuple[float, float]], *, higher: bool) -> list[int]:
    """Indices of the (cost, quality) pairs that no other one beats, cheapest first.

    One beats another if it costs no more and is no worse, and is better at one of the two.
    """
    sign = -1.0 if higher else 1.0
    order = sorted(range(len(points)), key=lambda k: (points[k][0], sign * points[k][1]))
    kept: list[int] = []
    for k in order:
        better = not kept or sign * points[k][1] < sign * points[kept[-1]][1]
        if better or points[k] == points[kept[-1]]:
            kept.append(k)
    return kept


def _points(report: Report, key: str, by: str) -> list[Point]:
    found = []
    for index, bundle in enumerate(report["bundles"]):
        cost, quality = _cost(bundle, by), _quality(report, bundle, key)
        if cost is not None and quality is not None:
            row = row_of(bundle, key)
            down = up = 0.0
            if row["delta"] is not None and row["low"] is not None and row["high"] is not None:
                down, up = row["delta"] - row["low"], row["high"] - row["delta"]
            found.append(Point(index, bundle["name"], cost, quality, quality - down, quality + up))
    return found


def _cost(bundle: BundleReport, by: str) -> float | None:
    if by == "size":
        return bundle["bytes"] / 1e6
    return bundle["speed"]["rtf"]["median"] if bundle["speed"] else None


def _quality(report: Report, bundle: BundleReport, key: str) -> float | None:
    """The value; the baseline's own may stand in the rows of the others only."""
    value = row_of(bundle, key)["value"]
    if value is None and bundle is baseline_of(report):
        others = (row_of(other, key)["baseline"] for other in compared(report))
        value = next((other for other in others if other is not None), None)
    return value


def _plot(points: list[Point], metric: Metric, cost: str) -> str:
    higher = metric["better"] == "higher"
    percent = 100.0 if metric["unit"] == "fraction" else 1.0
    unit = "%" if percent != 1 else metric["unit"]
    best = front([(p.cost, p.quality) for p in points], higher=higher)
    names = ", ".join(points[k].name for k in best)
    label = f"{metric['title']} against {cost}; on the Pareto front: {names}"
    title = _short(", ".join(filter(None, [metric["title"], unit])))
    with drawing(label, f"{cost}  (left is better)", title) as plot:
        axes = plot.axes
        axes.set_xlim(0, 1.2 * max(p.cost for p in points) or 1.0)
        axes.step(
            [points[k].cost for k in best], [percent * points[k].quality for k in best],
            where="post", color=INK, linewidth=1, linestyle=(0, (4, 3)),
        )  # fmt: skip
        for k, point in enumerate(points):
            axes.plot(
                [point.cost] * 2, [percent * point.low, percent * point.high],
                color=colour(point.index), linewidth=1.2, alpha=0.7,
            )  # fmt: skip
            axes.plot(
                point.cost, percent * point.quality, marker(point.index), markersize=7,
                color=colour(point.index), markeredgewidth=1.6,
                markerfacecolor=colour(point.index) if k in best else PAPER,
            )  # fmt: skip
        if not higher:
            axes.invert_yaxis()
        axes.margins(y=0.15)
        axes.grid(color=GRID)
        plot.figure.draw_without_rendering()
        spots = [axes.transData.transform((p.cost, percent * p.quality)) for p in points]
        scale = 72 / plot.figure.dpi
        offsets = _free_places(
            [(x * scale, y * scale) for x, y in spots], [_short(p.name) for p in points]
        )
        for point, (x, y) in zip(points, offsets, strict=True):
            axes.annotate(
                _short(point.name), (point.cost, percent * point.quality), (x, y),
                textcoords="offset points", ha="left" if x > 0 else "right",
                color=colour(point.index),
            )  # fmt: skip
    return plot.svg


def _short(text: str) -> str:
    """Small enough to stand in a plot; captions and the legend have the whole text."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _free_places(spots: list[tuple[float, float]], names: list[str]) -> list[tuple[int, int]]:
    """For each label the first place where it covers no other label and no point."""
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in spots]
    chosen = []
    for (x, y), name in zip(spots, names, strict=True):
        for dx, dy in _PLACES:
            width = _LETTER * len(name)
            left, bottom = x + dx - (width if dx < 0 else 0), y + dy - 1
            box = (left, bottom, left + width, bottom + _HEIGHT)
            if not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        chosen.append((dx, dy))
    return chosen


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
