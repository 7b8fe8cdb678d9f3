"""report.html: one file with everything inside, for a browser without network or scripts."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flowvox.errors import MissingPackageError
from flowvox.eval.report.charts import COLOURS, MARKERS
from flowvox.eval.report.listen import SHOWN, Pair, Sound, heard_words, load_sound, worst
from flowvox.eval.report.losses import losses
from flowvox.eval.report.schema import BundleReport, Report
from flowvox.eval.report.strips import strip
from flowvox.eval.report.tradeoff import tradeoffs
from flowvox.eval.report.verdicts import (
    LEVELS,
    Standing,
    baseline_of,
    clauses,
    compared,
    headline,
    lines,
    stand,
)
from flowvox.eval.report.words import interval, number, ratio

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE = "report.html.j2"
SHAPES = dict(zip(MARKERS, "●■▲◆▼▶✚★", strict=True))  # what the plots' markers look like
ICONS = {"pass": "✓", "fail": "✗", "unsure": "?", "no margin": "·", "not measured": "∅"}


@dataclass(frozen=True)
class Heard:
    """A pair with its recordings, as far as they were kept; `longest` is in seconds."""

    pair: Pair
    sound: Sound | None
    baseline: Sound | None
    longest: float


def render_html(report: Report, folder: Path) -> str:
    """The page; `folder` holds the recordings that the utterances name.

    Raises MissingPackageError without the eval extra.
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise MissingPackageError('report.html needs pip install "flowvox[eval]"')
    base = baseline_of(report)
    bundles = compared(report)
    return _environment().get_template(TEMPLATE).render(
        report=report,
        headline=headline(report),
        clauses=clauses(report),
        standings=[stand(report, bundle) for bundle in bundles],
        bundles=bundles,
        base=base,
        levels=LEVELS,
        outside=lines(report, "outside"),
        inside=lines(report, "inside"),
        unjudged=lines(report, "no margin"),
        legend=_legend(report),
        tradeoffs=tradeoffs(report),
        charts=losses(report),
        components=list(dict.fromkeys(k for b in report["bundles"] for k in b["components"])),
        stages=_stages(report),
        energy=any(b["speed"] and b["speed"]["joules_per_audio_second"] for b in report["bundles"]),
        listening=[(bundle, _listening(bundle, base, folder)) for bundle in _worst_first(report)],
        command=shlex.join(report["command"]),
    )  # fmt: skip


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        {
            "number": number,
            "bytes": partial(number, unit="bytes"),
            "percent": partial(number, unit="fraction"),
            "ratio": ratio,
            "interval": interval,
            "strip": strip,
            "heard_words": heard_words,
            "icons": ICONS,
            "shown": SHOWN,
        }
    )
    return environment


def _legend(report: Report) -> list[tuple[str, int, str]]:
    """Name, colour and marker of each bundle in the plots."""
    return [
        (bundle["name"], index % COLOURS, SHAPES[MARKERS[index % len(MARKERS)]])
        for index, bundle in enumerate(report["bundles"])
    ]


def _stages(report: Report) -> list[str]:
    speeds = [bundle["speed"] for bundle in report["bundles"]]
    return list(dict.fromkeys(name for s in speeds if s for name in s["ms_per_frame"]))


def _worst_first(report: Report) -> list[BundleReport]:
    """The compared bundles that spoke: failing ones first, passing ones last."""
    order = ["fail", "unsure", "not measured", "no margin", "pass"]

    def rank(entry: Standing) -> int:
        return order.index(entry.verdict)

    standings = [stand(report, bundle) for bundle in compared(report) if bundle["utterances"]]
    return [entry.bundle for entry in sorted(standings, key=rank)]


def _listening(bundle: BundleReport, base: BundleReport | None, folder: Path) -> list[Heard]:
    found = []
    for pair in worst(bundle, base):
        sound = load_sound(folder, pair.utterance["audio"])
        other = load_sound(folder, pair.baseline["audio"]) if pair.baseline else None
        longest = max(one.seconds if one else 0.0 for one in (sound, other))
        found.append(Heard(pair, sound, other, longest))
    return found
