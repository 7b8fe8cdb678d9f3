"""Where it is lost: errors by layer, by step, by codebook and by distance to a rounding boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from flowvox.eval.report.charts import Series, line_plot, stairs_plot
from flowvox.eval.report.schema import BoundaryDistance, BundleReport, Curves, Number, Report

Part = Literal["backbone", "flow", "codec"]
_LAYERS: dict[Part, str] = {
    "backbone": "Backbone", "flow": "Flow head", "codec": "Codec decoder",
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """A plot, its title and one sentence on how to read it."""

    title: str
    reading: str
    svg: str


def losses(report: Report) -> list[Chart]:
    """Every plot that at least one bundle has numbers for."""
    charts = []
    for part, name in _LAYERS.items():
        series = _series(report, partial(_layers, part=part))
        title = f"{name}: error after each layer"
        svg = line_plot(series, title, "layer", "relative error")
        charts.append(Chart(title, "A jump shows the layer that deserves more bits.", svg))
    steps = _series(report, lambda c: c.get("velocity_error_per_step"))
    title = "Flow: velocity error at each step"
    svg = line_plot(steps, title, "step", "relative error")
    charts.append(Chart(title, "Early errors are carried through all later steps.", svg))
    agreement = _series(report, lambda c: c.get("fsq_agreement_per_codebook"), 100.0)
    title = "Acoustic codes equal to the baseline's"
    svg = line_plot(agreement, title, "codebook", "equal, %")
    charts.append(Chart(title, "Same codes and noise fed to both.", svg))
    return [chart for chart in [*charts, *_boundaries(report)] if chart.svg]


def _series(
    report: Report, pick: Callable[[Curves], Sequence[Number] | None], scale: float = 1.0
) -> list[Series]:
    """The bundles' curves; the baseline has none against itself."""
    found = []
    for index, bundle in enumerate(report["bundles"]):
        values = None if bundle["is_baseline"] else pick(bundle["curves"])
        if values:
            scaled = [None if value is None else scale * value for value in values]
            found.append(Series(index, scaled))
    return found


def _layers(curves: Curves, part: Part) -> Sequence[Number] | None:
    return curves.get("error_per_layer", {}).get(part)


def _boundaries(report: Report) -> list[Chart]:
    """The histogram, and from it how likely a value flips; bundles share the first one's bins."""
    found = [(i, d) for i, b in enumerate(report["bundles"]) if (d := _distance(b)) is not None]
    if not found:
        return []
    edges, baseline = found[0][1]["edges"], found[0][1]["baseline"]
    found = [(index, d) for index, d in found if d["edges"] == edges]
    across = "distance to the nearest boundary, levels"
    title = "Distance to a rounding boundary"
    shares = [Series(index, _shares(d["flipped"])) for index, d in found]
    histogram = stairs_plot(edges, shares, _shares(baseline), title, across, "share of values, %")
    odds = [
        Series(index, [_percent(f, b) for f, b in zip(d["flipped"], d["baseline"], strict=True)])
        for index, d in found
    ]
    flips = "How likely a value flips by distance"
    return [
        Chart(title, "Grey: all values; lines: those that flipped.", histogram),
        Chart(
            flips,
            "Far from a boundary, flips are no rounding luck.",
            stairs_plot(edges, odds, None, flips, across, "flipped, %"),
        ),
    ]


def _distance(bundle: BundleReport) -> BoundaryDistance | None:
    distance = bundle["curves"].get("boundary_distance")
    return distance if distance and distance["baseline"] and not bundle["is_baseline"] else None


def _shares(counts: Sequence[Number]) -> list[Number]:
    total = sum(count for count in counts if count is not None)
    return [_percent(count, total) for count in counts]


def _percent(part: Number, whole: Number) -> Number:
    return 100 * part / whole if part is not None and whole else None
