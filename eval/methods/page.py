"""The rows of all methods as Markdown, and as JSON to draw from again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowvox.eval.methods.measure import Row
from flowvox.machine import cores, cpu_name

PLAIN = "int4/32 round"
HEAD = (
    "| method | by | bits | KLD | same FSQ level | END margin | output error | seconds |",
    "|---|---|---:|---:|---:|---:|---:|---:|",
)
KINDS: tuple[tuple[str, Callable[[Row], bool]], ...] = (
    ("4.5 bits a weight", lambda row: 4.4 < row.bits < 4.51),
    ("4.6 to 5 bits", lambda row: 4.51 <= row.bits <= 5.01),
    ("Under 4.4 bits", lambda row: row.bits <= 4.4),
    ("5.1 to 7 bits", lambda row: 5.01 < row.bits <= 7),
    ("About 8 bits", lambda row: row.bits > 7),
)


def page(rows: Sequence[Row], model: str, suite: str, frames: int, plots: Sequence[str]) -> str:
    """The whole file."""
    lines = [
        f"# Methods on {model}",
        "",
        "Made by `python -m flowvox.eval.methods`; do not edit. What the columns mean and what to "
        "conclude: [methods](../methods.md).",
        "",
        f"{model}, suite `{suite}`, {frames} frames, teacher-forced, torch reference in float32 with "
        "the matrices of all layers of backbone and flow head stored by each method, and activations "
        f"rounded as its kernel does. {cpu_name()}, {cores()} cores.",
    ]
    for title, inside in KINDS:
        chosen = sorted((row for row in rows if inside(row)), key=lambda row: row.damage.kld)
        if chosen:
            lines += ["", f"## {title}", "", *HEAD, *map(_line, chosen)]
    lines += ["", *goals(rows)]
    notes = [f"* {row.tool} {row.name}: {row.notes}." for row in rows if row.notes]
    if notes:
        lines += ["", "## Notes", "", *notes]
    lines += ["", *(f"![{name}]({name}.svg)" for name in plots)]
    return "\n".join(lines) + "\n"


def goals(rows: Sequence[Row]) -> list[str]:
    """The best of equal bytes against plain rounding, and against the best of all other tools."""
    same = [row for row in rows if 4.4 < row.bits < 4.51]
    plain = next((row for row in same if row.name == PLAIN), None)
    ours = min((r for r in same if r.tool == "flowvox"), key=lambda r: r.damage.kld, default=None)
    theirs = min((r for r in same if r.tool != "flowvox"), key=lambda r: r.damage.kld, default=None)
    lines = ["## At equal size", ""]
    if ours is None:
        return lines
    for name, other in (("plain rounding", plain), ("the best of other tools", theirs)):
        if other is None:
            continue
        lines.append(
            f"* {ours.name} against {name} ({other.tool} {other.name}): KLD {ours.damage.kld:.5f} to "
            f"{other.damage.kld:.5f}, {ours.damage.kld / other.damage.kld:.2f} times; same FSQ level "
            f"{100 * (other.damage.fsq - ours.damage.fsq):+.1f} points."
        )
    return lines


def _line(row: Row) -> str:
    damage = row.damage
    bold = "**" if row.tool == "flowvox" else ""
    return (
        f"| {bold}{row.name}{bold} | {row.tool} | {row.bits:.2f} | {damage.kld:.5f} | "
        f"{1 - damage.fsq:.1%} | {damage.end_margin:.2f} | {row.error:.2%} | {row.seconds:.1f} |"
    )
