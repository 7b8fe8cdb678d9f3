"""`make readme-table`: the README's table of results, from the committed report.

    python -m flowvox.eval.readme docs/results/standard.json README.md

The report is condensed in place (`condense`): figures stay, single utterances go. Without a README
that is all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from flowvox.eval.report.schema import BundleReport, Report, read_report, validate
from flowvox.files import write_beside

MARKERS = ("<!-- results: make readme-table -->\n", "<!-- end of results -->")
HEAD = (
    "| artifact | size | RTF | speed | memory | Mean KLD | same FSQ level | WER | similarity |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
)


def table(report: Report) -> str:
    """The Markdown table of a report, and the line that says how to read it."""
    lines = [*HEAD, *(_line(report, bundle) for bundle in report["bundles"])]
    floor = report["noise_floor"]
    chance = ", ".join(
        f"{title} {_interval(floor[name], scale, digits)}"
        for name, title, scale, digits in (
            ("wer", "WER", 100, 1), ("fsq_exact", "FSQ", 100, 1), ("similarity", "similarity", 1, 3),
        )
        if name in floor
    )  # fmt: skip
    suite, machine = report["suite"], report["machine"]
    note = (
        f"Suite `{suite['name']}` ({suite['sentences']} sentences, seeds "
        f"{', '.join(map(str, suite['seeds']))}) on {machine['cpu']}, {machine['cores']} cores, "
        f"against {report['baseline']['recipe']}; speed is relative to it, sentence by sentence in one "
        "run. Differences carry 95 % intervals. The baseline against itself with another seed: "
        f"{chance}."
    )
    return "\n".join(lines) + "\n\n" + note + "\n"


def _line(report: Report, bundle: BundleReport) -> str:
    speed, rows = bundle["speed"], bundle["rows"]
    cells = [bundle["recipe"], f"{bundle['bytes'] / 1e6:.1f} MB"]
    if speed is None:
        cells += ["-", "-", "-"]
    else:
        rtf, ratio, memory = speed["rtf"]["median"], speed["rtf_ratio"], speed["peak_rss_bytes"]
        cells.append("-" if rtf is None else f"{rtf:.3f}" + (" (noisy)" if speed["noisy"] else ""))
        quicker = ratio is not None and ratio["median"] is not None
        cells.append(f"{1 / ratio['median']:.2f}x" if quicker and ratio else "-")  # type: ignore[operator]
        cells.append("-" if memory is None else f"{memory / 1e6:.0f} MB")
    cells.append(_number(rows["kld_mean"]["value"], 1, 4))
    cells.append(_number(rows["fsq_exact"]["value"], 100, 1, " %"))
    wer = rows["wer"]
    heard = _number(wer["value"], 100, 1, " %")
    if not bundle["is_baseline"] and wer["low"] is not None:
        heard += f" ({_interval({'mean': wer['delta'], **wer}, 100, 1)})"
    cells += [heard, _number(rows["similarity"]["value"], 1, 3)]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, scale: float, digits: int, unit: str = "") -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}{unit}"


def _interval(delta: Any, scale: float, digits: int) -> str:
    ends = [delta[key] for key in ("mean", "low", "high")]
    if None in ends:
        return _number(delta["mean"], scale, digits)
    mean, low, high = (f"{x * scale:+.{digits}f}" for x in ends)
    return f"{mean} [{low}, {high}]"


def condense(report: Report) -> Report:
    """The report without its single utterances: what the repository keeps."""
    return validate(
        {**report, "bundles": [{**bundle, "utterances": []} for bundle in report["bundles"]]}
    )


def fill(readme: str, text: str) -> str:
    """`readme` with `text` between the markers. Raises ValueError without them."""
    start, end = (readme.index(marker) for marker in MARKERS)
    return readme[: start + len(MARKERS[0])] + text + readme[end:]


def main() -> None:
    """Condense the given report in place and fill the README, if one is named."""
    source, *readmes = map(Path, sys.argv[1:])
    report = condense(read_report(source))
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    write_beside(source, text.encode())
    for readme in readmes:
        write_beside(readme, fill(readme.read_text("utf-8"), table(report)).encode())


if __name__ == "__main__":
    main()
