"""What the rows say together: the answer per bundle, and the table that backs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from flowvox.eval.report.schema import BundleReport, Level, Metric, NoiseFloor, Report, Row, Verdict
from flowvox.eval.report.words import NOTHING, interval, number, size

# What is heard first; within a level, metrics keep the order of the report.
LEVELS: dict[Level, str] = {
    "free-running": "Heard: each bundle speaks freely",
    "teacher-forced": "Predicted: same codes and noise fed to both",
    "codec": "Decoded: same codes to audio",
    "speed": "Speed",
    "size": "Size",
}
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_NO_ROW: Row = {
    "value": None, "baseline": None, "delta": None, "low": None, "high": None,
    "n": 0, "verdict": "not measured",
}  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """The answer for one bundle: a word, the rest of the sentence after its name, and all of it."""

    bundle: BundleReport
    verdict: Verdict
    sentence: str
    details: list[str]


@dataclass(frozen=True)
class Cell:
    """One bundle's part of a line."""

    bundle: str
    value: str
    delta: str
    n: int
    verdict: Verdict
    row: Row


Kind = Literal["outside", "inside", "no margin"]


@dataclass(frozen=True)
class Line:
    """One metric across the bundles, in words; `cells` in the order of `compared`.

    `n` is the count of utterances where all bundles share it, else 0.
    """

    metric: Metric
    margin: str
    noise: str
    floor: NoiseFloor | None
    baseline: str
    n: int
    cells: list[Cell]

    @property
    def kind(self) -> Kind:
        """Whether there is a margin, and whether every bundle keeps it."""
        if self.metric["margin"] is None:
            return "no margin"
        return "inside" if all(cell.verdict == "pass" for cell in self.cells) else "outside"

    @property
    def explanation(self) -> str:
        """What the metric is, which way is better, over how many utterances."""
        text = self.metric["explanation"].rstrip(".")
        better = "" if self.metric["better"] == "none" else f"{self.metric['better']} is better"
        count = f"n\u00a0=\u00a0{self.n}" if self.n else ""
        sentences = [part[0].upper() + part[1:] for part in (text, better) if part]
        return " ".join(f"{part}." for part in [*sentences, count] if part)


def compared(report: Report) -> list[BundleReport]:
    """The bundles that are not the baseline."""
    return [bundle for bundle in report["bundles"] if not bundle["is_baseline"]]


def baseline_of(report: Report) -> BundleReport | None:
    """The baseline's own entry, if it was measured."""
    return next((bundle for bundle in report["bundles"] if bundle["is_baseline"]), None)


def row_of(bundle: BundleReport, key: str) -> Row:
    """A bundle's row of a metric; one that says "not measured" where there is none."""
    return bundle["rows"].get(key, _NO_ROW)


def headline(report: Report) -> str:
    """The whole report in one line."""
    return "; ".join(clauses(report)) or "Only the baseline was measured; nothing to compare"


def clauses(report: Report) -> list[str]:
    """The parts of the headline: bundles of which the same is to be said share one."""
    names: dict[str, list[str]] = {}
    for bundle in compared(report):
        names.setdefault(stand(report, bundle).sentence, []).append(bundle["name"])
    return [f"{', '.join(found)}: {sentence}" for sentence, found in names.items()]


def stand(report: Report, bundle: BundleReport) -> Standing:
    """Fail if any metric fails, then unsure if any is, then pass if any was judged at all.

    An utterance that crashed turns a pass into unsure.
    """
    titles: dict[Verdict, list[str]] = {verdict: [] for verdict in VERDICTS}
    for level in LEVELS:
        for key, metric in report["metrics"].items():
            if metric["margin"] is not None and metric["level"] == level:
                titles[row_of(bundle, key)["verdict"]].append(_inside_a_sentence(metric["title"]))
    passed, missing, crashed = titles["pass"], titles["not measured"], len(bundle["failures"])
    crashes = f"{crashed} utterance{'s' * (crashed > 1)} crashed"
    verdict: Verdict = "no margin"
    if titles["fail"]:
        verdict, sentence = "fail", f"fails {_shortly(titles['fail'])}"
    elif titles["unsure"]:
        verdict, sentence = "unsure", f"unsure about {_shortly(titles['unsure'])}"
    elif passed:
        verdict = "unsure" if crashed else "pass"
        inside = f"inside the {_margins(passed)} measured" if missing else "inside all margins"
        sentence = f"{inside}, but {crashes}" if crashed else inside
    else:
        verdict = "not measured" if missing else "no margin"
        sentence = "nothing was judged"
    details = [f"Fails {' · '.join(titles['fail'])}"] if titles["fail"] else []
    details += [f"Unsure about {' · '.join(titles['unsure'])}"] if titles["unsure"] else []
    details += [f"Inside {_margins(passed)}"] if passed else []
    details += [f"Not measured: {' · '.join(missing)}"] if missing else []
    details += [crashes] if crashed else []
    return Standing(bundle, verdict, sentence, details)


def lines(report: Report, kind: Kind) -> dict[Level, list[Line]]:
    """The lines of one kind, by level; none where there is nothing to compare."""
    found: dict[Level, list[Line]] = {level: [] for level in LEVELS}
    for key, metric in report["metrics"].items():
        line = _line(report, key, metric)
        if line.kind == kind and line.cells:
            found[metric["level"]].append(line)
    return {level: of_level for level, of_level in found.items() if of_level}


def _line(report: Report, key: str, metric: Metric) -> Line:
    unit, floor = metric["unit"], report["noise_floor"].get(key)
    cells = []
    for bundle in compared(report):
        row = row_of(bundle, key)
        delta = interval(row["delta"], row["low"], row["high"], unit)
        value = number(row["value"], unit)
        cells.append(Cell(bundle["name"], value, delta, row["n"], row["verdict"], row))
    base = baseline_of(report)
    own = [base["rows"][key]["value"]] if base and key in base["rows"] else []
    values = own + [cell.row["baseline"] for cell in cells]
    counts = {cell.n for cell in cells if cell.verdict != "not measured"}
    return Line(
        metric=metric,
        margin=_margin(metric),
        floor=floor,
        noise=interval(floor["mean"], floor["low"], floor["high"], unit) if floor else NOTHING,
        baseline=number(next((v for v in values if v is not None), None), unit),
        n=counts.pop() if len(counts) == 1 else 0,
        cells=cells,
    )


def _margin(metric: Metric) -> str:
    if metric["margin"] is None:
        return NOTHING
    sign = {"lower": "+", "higher": "−", "none": "±"}[metric["better"]]
    return f"{sign}{size(metric['margin'], metric['unit'])}"


def _inside_a_sentence(title: str) -> str:
    """ "Word error rate" starts small; "WER" and "DistillMOS" do not."""
    first = title.split(" ", 1)[0]
    return title[:1].lower() + title[1:] if first.istitle() else title


def _shortly(titles: list[str]) -> str:
    """One by name, two if that is all."""
    if len(titles) > 2:
        return f"{titles[0]} and {len(titles) - 1} more"
    return " and ".join(titles)


def _margins(passed: list[str]) -> str:
    return f"{len(passed)} margin{'s' * (len(passed) > 1)}"
