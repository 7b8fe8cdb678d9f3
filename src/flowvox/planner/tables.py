"""The tables of docs/devices: `python -m flowvox.planner.tables docs/devices/*.md` fills them in.

A page marks the place with `<!-- planner: published -->` or `<!-- planner: NAME ... -->`, with names of
devices; everything from there to `<!-- end -->` is replaced.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from flowvox.planner.devices import load_device
from flowvox.planner.plan import make_plan, offered
from flowvox.planner.published import ALLOWED, published_cases, shape_config
from flowvox.recipe import load_recipe, shipped_recipes

PLACE = re.compile(r"(<!-- planner: ([\w -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: str) -> str:
    """The page with its tables as the planner has them now."""

    def table(place: re.Match[str]) -> str:
        names = place[2].split()
        text = published_table() if names == ["published"] else predictions_table(names)
        return f"{place[1]}{text}{place[3]}"

    return PLACE.sub(table, page)


def published_table() -> str:
    """Published speeds beside the planner's."""
    header = (
        "system",
        "device",
        "stored",
        "steps",
        "published",
        "predicted",
        "error",
        "role",
        "note",
    )
    rows = (
        (
            case.system,
            case.device,
            case.storage,
            str(case.steps),
            f"{case.published:g}",
            f"{case.predicted:.3g}",
            f"{case.error:+.0%}",
            f"**{case.role}**" if case.role in ALLOWED else case.role,
            f"{case.note} ({case.source})",
        )
        for case in published_cases()
    )
    return _markdown(header, rows)


def predictions_table(names: list[str]) -> str:
    """What `flowvox plan` says of the 4B model on these devices, every recipe with every preset."""
    config = shape_config("4b")
    shipped = [load_recipe(name) for name in shipped_recipes()]
    header = (
        "device", "recipe", "quality", "RTF", "backbone + flow + codec, ms a frame", "first audio, s",
        "memory, GB", "fits",
    )  # fmt: skip
    rows = []
    for name in names:
        device = load_device(name)
        plan = make_plan(config, offered(shipped, device), device, 1.0)
        for candidate in plan.candidates:
            speed = candidate.speed
            chosen = candidate is plan.choice
            rows.append(
                (
                    name,
                    f"**{candidate.recipe}**" if chosen else candidate.recipe,
                    f"{candidate.quality} ({candidate.evaluations})",
                    f"{speed.rtf:.2f}",
                    " + ".join(f"{1e3 * seconds:.1f}" for seconds in speed.frame.values()),
                    f"{speed.first_audio:.2f}",
                    f"{candidate.memory.total / 1e9:.1f} of {device.usable:g}",
                    "yes" if candidate.fits else "no",
                )
            )
    return _markdown(header, rows)


def _markdown(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Fill in the tables of the pages named on the command line."""
    for argument in sys.argv[1:]:
        page = Path(argument)
        page.write_text(fill(page.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
