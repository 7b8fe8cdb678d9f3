"""A sweep as Markdown, and the tables of docs/solvers.md:

python -m flowvox.eval.sweep_table docs/solvers.json docs/solvers.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flowvox.eval.sweep_settings import COUNTS
from flowvox.files import write_beside

MARKERS = ("<!-- sweep: python -m flowvox.eval.sweep_table -->\n", "<!-- end of sweep -->")
SHOWN = 2  # screened settings of each number of evaluations, besides the best of each solver
MEASURES = {"wer": ("WER", 100, 1, " %"), "similarity": ("similarity", 1, 3, ""),
            "mos": ("DistillMOS", 1, 2, ""), "not_ended": ("did not end", 100, 1, " %"),
            "early_stop": ("early stops", 100, 1, " %")}  # fmt: skip

Rows = Iterable[Iterable[str]]


def table(report: dict[str, Any]) -> str:
    """Both levels of a sweep: what was screened on the baseline, and what spoke freely."""
    return f"{_screened(report)}\n{_joint(report)}\n{_spoken(report)}"


def _screened(report: dict[str, Any]) -> str:
    """The best settings of each number of evaluations on the baseline, by solver, and plain Euler."""
    baseline = report["artifacts"][0]
    rows = []
    for count in COUNTS:
        some = [row for row in baseline["screened"] if row["evaluations"] == count]
        best_of = {row["solver"]: row["name"] for row in reversed(some)}.values()
        chosen = [
            row
            for i, row in enumerate(some)
            if i < SHOWN or row["name"] in best_of or _is_plain_euler(row)
        ]
        rows += [
            (str(count), row["name"], _share(row), f"{row['snr']:.1f}", f"{row['fine_snr']:.1f}")
            for row in chosen
        ]
    seed = baseline["another_seed"]
    rows.append(
        ("7", "another seed", _share(seed), f"{seed['snr']:.1f}", f"{seed['fine_snr']:.1f}")
    )
    head = ("evaluations", "setting", "same FSQ level as full", "SNR to full, dB",
            "SNR to 64 evaluations, dB")  # fmt: skip
    note = (
        f"{baseline['recipe']}, flow head alone, {baseline['frames']} frames of suite "
        f"`{report['suite']['name']}`. Of {len(baseline['screened'])} settings, for each number of "
        f"evaluations: the best {SHOWN}, the best of each solver, and Euler with equal steps.\n"
    )
    return f"{_markdown(head, rows)}\n{note}"


def _joint(report: dict[str, Any]) -> str:
    """Same FSQ level by recipe: against the artifact's own full, and against the baseline's."""
    artifacts = report["artifacts"]
    found = [{row["name"]: row for row in artifact["screened"]} for artifact in artifacts]
    kept = [row for row in artifacts[-1]["screened"] if row["name"] in found[0]]
    rows = [
        (str(row["evaluations"]), row["name"],
         *(f"{100 * own[row['name']]['same_level']:.1f} / {100 * own[row['name']]['joint']:.1f}"
           for own in found))
        for row in kept
    ]  # fmt: skip
    seeds = [artifact["another_seed"] for artifact in artifacts]
    rows.append(
        ("7", "another seed", *(f"{100 * s['same_level']:.1f} / {100 * s['joint']:.1f}" for s in seeds))
    )  # fmt: skip
    head = ("evaluations", "setting", *(artifact["recipe"] for artifact in artifacts))
    note = (
        "Acoustic codes on the same FSQ level, %: as the same artifact's full / as the full of "
        f"{artifacts[0]['recipe']}.\n"
    )
    return f"{_markdown(head, rows)}\n{note}"


def _spoken(report: dict[str, Any]) -> str:
    """Free-running speech: value and difference to full of the same artifact."""
    measured = [key for key in MEASURES if key in report["noise_floor"]]
    rows = [
        (artifact["recipe"], row["name"], str(row["evaluations"]),
         *(_cell(key, row["rows"].get(key), index == 0) for key in measured),
         "" if index == 0 else row["verdict"])
        for artifact in report["artifacts"]
        for index, row in enumerate(artifact["spoken"])
    ]  # fmt: skip
    floor = [_difference(key, report["noise_floor"][key], "mean") for key in measured]
    rows.append((report["artifacts"][0]["recipe"], "full, another seed", "7", *floor, ""))
    head = ("artifact", "setting", "evaluations", *(MEASURES[key][0] for key in measured),
            "within the noise floor")  # fmt: skip
    suite, machine = report["suite"], report["machine"]
    note = (
        f"Suite `{suite['name']}`, {suite['sentences']} sentences, seeds "
        f"{', '.join(map(str, suite['seeds']))}, on {machine['cores']} cores of {machine['cpu']} with "
        f"onnxruntime {report['versions']['onnxruntime']}; differences to full of the same artifact, "
        "with 95 % intervals. Made by `flowvox eval --sweep`.\n"
    )
    return f"{_markdown(head, rows)}\n{note}"


def _is_plain_euler(row: dict[str, Any]) -> bool:
    return bool(row["name"] == f"euler {row['steps']}, uniform")


def _share(row: dict[str, Any]) -> str:
    text = f"{100 * row['same_level']:.1f} %"
    if row["low"] is None:
        return text
    return f"{text} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def _cell(key: str, row: dict[str, Any] | None, is_full: bool) -> str:
    if row is None:
        return "-"
    _, scale, digits, unit = MEASURES[key]
    value = f"{row['value'] * scale:.{digits}f}{unit}"
    return value if is_full else f"{value} ({_difference(key, row, 'delta')})"


def _difference(key: str, row: dict[str, Any], middle: str) -> str:
    _, scale, digits, _ = MEASURES[key]
    ends = [row[end] for end in (middle, "low", "high")]
    mean, low, high = ("-" if x is None else f"{x * scale:+.{digits}f}" for x in ends)
    return f"{mean} [{low}, {high}]"


def _markdown(head: Iterable[str], rows: Rows) -> str:
    head = tuple(head)
    lines = (head, ("---",) * len(head), *map(tuple, rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(report: dict[str, Any], folder: Path) -> None:
    """sweep.json and sweep.md in `folder`."""
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_beside(folder / "sweep.json", text.encode())
    write_beside(folder / "sweep.md", table(report).encode())


def fill(page: str, report: dict[str, Any]) -> str:
    """`page` with the tables between the markers. Raises ValueError without them."""
    start, end = (page.index(marker) for marker in MARKERS)
    return f"{page[: start + len(MARKERS[0])]}{table(report)}{page[end:]}"


def main() -> None:
    """Fill the page named second with the sweep named first."""
    source, page = map(Path, sys.argv[1:3])
    report = json.loads(source.read_text("utf-8"))
    write_beside(page, fill(page.read_text("utf-8"), report).encode())


if __name__ == "__main__":
    main()
