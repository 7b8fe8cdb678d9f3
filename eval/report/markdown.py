"""report.md: the same answer and tables, without plots and sound."""

from __future__ import annotations

import html
import shlex

from flowvox.eval.report.listen import worst
from flowvox.eval.report.schema import Report
from flowvox.eval.report.verdicts import (
    LEVELS,
    Kind,
    Line,
    baseline_of,
    compared,
    headline,
    lines,
    stand,
)
from flowvox.eval.report.words import NOTHING, number, ratio


def render_markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    sections = [
        f"# {_text(headline(report))}",
        _subject(report),
        "## Verdicts",
        _standings(report),
        "Bundles: value, difference from the baseline with its 95 % interval (pp: percentage "
        "points), verdict. Noise floor: the baseline against itself with another seed.",
        *_section("Not inside every margin", _verdict_table(report, "outside"), "###"),
        *_section("Inside every margin", _verdict_table(report, "inside"), "###"),
        *_not_measured(report),
        *_section("Also measured, no margin", _verdict_table(report, "no margin")),
        "## Size and speed",
        _speed(report),
        *_section("Bits", _components(report)),
        *_section("Worst utterances", _worst(report)),
        *_section("Failures", _failures(report)),
        "## How to redo it",
        _redo(report),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _section(title: str, body: str, level: str = "##") -> list[str]:
    return [f"{level} {title}", body] if body else []


def _subject(report: Report) -> str:
    suite = report["suite"]
    said = f", {suite['utterances']} utterances" if "utterances" in suite else ""
    return (
        f"Suite {_text(suite['name'])} {suite['version']}: {suite['sentences']} sentences, "
        f"{len(suite['voices'])} voices, {len(suite['seeds'])} seeds{said}, against "
        f"{_text(report['baseline']['name'])}. {_text(report['created'])}."
    )


def _standings(report: Report) -> str:
    return "\n".join(
        f"- **{_text(s.bundle['name'])}: {s.verdict}.** {'. '.join(map(_text, s.details))}."
        for s in (stand(report, bundle) for bundle in compared(report))
    )


def _verdict_table(report: Report, kind: Kind) -> str:
    names = [bundle["name"] for bundle in compared(report)]
    rows = [
        [f"*{LEVELS[level]}*", *[""] * (len(names) + 3)] if line is None else _row(line)
        for level, of_level in lines(report, kind).items()
        for line in (None, *of_level)
    ]
    head = ["metric", "margin", "noise floor", _text(report["baseline"]["name"])]
    return _table([*head, *map(_text, names)], rows) if rows else ""


def _row(line: Line) -> list[str]:
    title = _text(line.metric["title"])
    cells = [
        f"{_text(cell.value)} ({_text(cell.delta)}), n {cell.n}, **{cell.verdict}**"
        if cell.n
        else f"**{cell.verdict}**"
        for cell in line.cells
    ]
    return [title, *map(_text, (line.margin, line.noise, line.baseline)), *cells]


def _not_measured(report: Report) -> list[str]:
    rows = [
        f"- {_text(report['metrics'][key]['title'] if key in report['metrics'] else key)}: "
        f"{_text(reason)}"
        for key, reason in report["not_measured"].items()
    ]
    return _section("Not measured", "\n".join(rows))


def _speed(report: Report) -> str:
    base = baseline_of(report)
    rows = []
    for bundle in report["bundles"]:
        speed = bundle["speed"]
        factor = ratio(bundle["bytes"] / base["bytes"]) if base and base["bytes"] else NOTHING
        row = [_text(bundle["name"]), number(float(bundle["bytes"]), "bytes"), factor]
        if speed is None:
            rows.append([*row, *[NOTHING] * 6])
            continue
        times = speed["rtf_ratio"]
        rows.append(
            [
                *row,
                f"{number(speed['rtf']['median'])}{' (noisy)' if speed['noisy'] else ''}",
                number(speed["rtf"]["p95"]),
                ratio(times["median"]) if times else NOTHING,
                number(speed["first_audio_seconds"], "s"),
                number(speed["load_seconds"], "s"),
                number(speed["peak_rss_bytes"], "bytes"),
            ]
        )
    head = ["bundle", "size", "of the baseline", "RTF", "RTF 95 %", "of the baseline"]
    return _table([*head, "first audio", "load", "peak memory"], rows)


def _components(report: Report) -> str:
    names = list(dict.fromkeys(name for b in report["bundles"] for name in b["components"]))
    rows = []
    for bundle in report["bundles"]:
        parts = [bundle["components"].get(name) for name in names]
        cells = [
            f"{number(part['bits_per_weight'])} ({number(float(part['bytes']), 'bytes')})"
            if part
            else NOTHING
            for part in parts
        ]
        rows.append([_text(bundle["name"]), *cells])
    head = ["bits per weight (size)", *map(_text, names)]
    return _table(head, rows) if names else ""


def _worst(report: Report) -> str:
    rows = [
        [
            _text(bundle["name"]),
            _text(pair.utterance["text"]),
            _text(pair.utterance["heard"] or NOTHING),
            number(pair.utterance["wer"], "fraction"),
            number(pair.baseline["wer"] if pair.baseline else None, "fraction"),
            number(pair.utterance["similarity"]),
        ]
        for bundle in compared(report)
        for pair in worst(bundle, baseline_of(report))
    ]
    head = ["bundle", "text", "heard", "WER", "WER, baseline", "similarity"]
    return _table(head, rows) if rows else ""


def _failures(report: Report) -> str:
    return "\n".join(
        f"- {_text(bundle['name'])}, {_text(failure['utterance'])}: {_text(failure['error'])}"
        for bundle in report["bundles"]
        for failure in bundle["failures"]
    )


def _redo(report: Report) -> str:
    facts = [
        number(report["machine"]["memory_bytes"], "bytes") if key == "memory_bytes" else str(value)
        for key, value in report["machine"].items()
    ]
    versions = [f"{name} {version}" for name, version in report["versions"].items()]
    hashes = [
        f"{item['name']} ({item['recipe']}): {item['sha256']}"
        for item in (report["baseline"], *compared(report))
    ]
    rows = [
        f"command: {shlex.join(report['command'])}",
        f"flowvox {report['flowvox']}; {', '.join(versions)}",
        f"machine ({', '.join(report['machine'])}): {'; '.join(facts)}",
        f"suite {report['suite']['name']}: {report['suite']['sha256']}",
        *hashes,
    ]
    return "\n".join(f"- {_text(row)}" for row in rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    body = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in body)


def _text(value: str) -> str:
    """Any text as plain text inside a line or cell of Markdown."""
    plain = html.escape(" ".join(value.split()), quote=False)
    for mark in "\\`*_|~":
        plain = plain.replace(mark, f"\\{mark}")
    return plain.replace("](", "]\\(")  # no links; lone brackets, as of intervals, mean nothing
