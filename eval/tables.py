"""Tables of results in the documentation, made from the committed reports.

    python -m flowvox.eval.tables README.md docs/*.md

fills what stands between a pair of comments like

    <!-- table: docs/results/standard.json | size rtf wer | fp16 int8 -->
    <!-- end of table -->

The report's path is relative to the page. Then come the columns (COLUMNS, or the id of any metric) and,
if not all are wanted, the recipes; those that the report lacks are left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from flowvox.eval.metrics import BY_ID
from flowvox.eval.report.schema import BundleReport, NoiseFloor, Report, Row, read_report
from flowvox.files import write_beside

BLOCK = re.compile(
    r"(?P<head><!-- table: (?P<what>[^>]+) -->\n).*?(?P<end><!-- end of table -->)", re.DOTALL
)
MISSING = "Not measured yet: `make refresh-tiny`.\n"
SHORT = {"wer": "WER", "cer": "CER", "similarity": "similarity", "fsq_exact": "same FSQ level"}
EXACT = ("kld_mean", "kld_p99")  # small numbers: more digits
FLOOR = ("wer", "fsq_exact", "similarity", "mos")

Cell = Callable[[Report, BundleReport], str]


def _size(report: Report, bundle: BundleReport) -> str:
    return f"{bundle['bytes'] / 1e6:.1f} MB"


def _bits(report: Report, bundle: BundleReport) -> str:
    """Of all files, over all weights of the model."""
    base = next(b for b in report["bundles"] if b["is_baseline"])
    weights = sum(part["parameters"] for part in base["components"].values())
    return f"{8 * bundle['bytes'] / weights:.2f}" if weights else "-"


def _rtf(report: Report, bundle: BundleReport) -> str:
    speed = bundle["speed"]
    if speed is None or speed["rtf"]["median"] is None:
        return "-"
    return f"{speed['rtf']['median']:.3f}" + (" (noisy)" if speed["noisy"] else "")


def _speed(report: Report, bundle: BundleReport) -> str:
    ratio = bundle["speed"] and bundle["speed"]["rtf_ratio"]
    return f"{1 / ratio['median']:.2f}x" if ratio and ratio["median"] else "-"


def _memory(report: Report, bundle: BundleReport) -> str:
    peak = bundle["speed"] and bundle["speed"]["peak_rss_bytes"]
    return f"{peak / 1e6:.0f} MB" if peak else "-"


COLUMNS: dict[str, tuple[str, Cell]] = {
    "size": ("size", _size),
    "bits": ("bits/weight", _bits),
    "rtf": ("RTF", _rtf),
    "speed": ("speed", _speed),
    "memory": ("memory", _memory),
}


def table(report: Report, columns: list[str], recipes: list[str] | None = None) -> str:
    """The Markdown table, and the line that says how to read it."""
    bundles = {bundle["recipe"]: bundle for bundle in report["bundles"]}
    rows = [bundles[name] for name in recipes or bundles if name in bundles]
    cells = [COLUMNS.get(name) or _metric(name) for name in columns]
    lines = [
        f"| artifact | {' | '.join(title for title, _ in cells)} |",
        f"|---|{'---:|' * len(cells)}",
        *(
            f"| {' | '.join([row['recipe'], *(cell(report, row) for _, cell in cells)])} |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n\n" + note(report, columns) + "\n"


def note(report: Report, columns: list[str]) -> str:
    """Where the figures come from, and what is chance in them."""
    suite, machine, floor = report["suite"], report["machine"], report["noise_floor"]
    heard = suite.get("utterances")
    said = f"Suite `{suite['name']}`: {suite['sentences']} sentences"
    if heard is not None:
        said += f", {heard} utterances of {len(suite['voices'])} voices"
    said += (
        f", on {machine['cpu']}, {machine['cores']} cores, against {report['baseline']['recipe']}"
    )
    parts = [said]
    if "speed" in columns:
        parts.append("Speed is relative to it, sentence by sentence in one run")
    chance = [f"{_title(name)} {_difference(name, floor[name]['mean'], floor[name])}"
              for name in FLOOR if name in columns and name in floor]  # fmt: skip
    if chance:
        parts.append("Differences carry 95 % intervals")
        parts.append(f"The baseline against itself with another seed: {', '.join(chance)}")
    return ". ".join(parts) + "."


def _metric(name: str) -> tuple[str, Cell]:
    def cell(report: Report, bundle: BundleReport) -> str:
        row = bundle["rows"][name]
        value = _number(name, row["value"])
        heard = BY_ID[name].level == "free-running"
        if not heard or bundle["is_baseline"] or row["value"] is None:
            return value
        return f"{value} ({_difference(name, row['delta'], row)})"

    return _title(name), cell


def _title(name: str) -> str:
    return SHORT.get(name, BY_ID[name].title)


def _scale(name: str) -> tuple[float, int, str]:
    """(factor, digits, unit) of a metric in a cell."""
    if name in EXACT:
        return 1, 4, ""
    unit = BY_ID[name].unit
    return {"fraction": (100.0, 1, " %"), "cosine": (1.0, 3, ""), "dB": (1.0, 1, " dB")}.get(
        unit, (1.0, 2, "")
    )


def _number(name: str, value: float | None) -> str:
    scale, digits, unit = _scale(name)
    return "-" if value is None else f"{value * scale:.{digits}f}{unit}"


def _difference(name: str, middle: float | None, ends: Row | NoiseFloor) -> str:
    scale, digits, _ = _scale(name)
    mean, low, high = (
        "-" if x is None else f"{x * scale:+.{digits}f}"
        for x in (middle, ends["low"], ends["high"])
    )
    return f"{mean} [{low}, {high}]"


def fill(page: Path) -> str:
    """The page with every table made anew. Raises ValueError for a block that is not understood."""

    def made(block: re.Match[str]) -> str:
        source, columns, *recipes = (part.strip() for part in block["what"].split("|"))
        if not (page.parent / source).exists():
            return block["head"] + MISSING + block["end"]
        report = read_report(page.parent / source)
        text = table(report, columns.split(), recipes[0].split() if recipes else None)
        return block["head"] + text + block["end"]

    return BLOCK.sub(made, page.read_text("utf-8"))


def main() -> None:
    """Fill the pages that are named."""
    for page in map(Path, sys.argv[1:]):
        write_beside(page, fill(page).encode())


if __name__ == "__main__":
    main()
