"""`python -m flowvox.eval.methods.front CHECKPOINT -o FOLDER`: quality against size.

What the layers, heads and tables take, and what is lost when they are stored so: plans of `-r auto`
over a range of budgets, each measured as a whole, beside recipes. Damages that an allocation has
measured before are not measured again.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowvox.eval.methods.plots import picture
from flowvox.files import write_beside
from flowvox.quantizers.allocation.damage import Damage
from flowvox.quantizers.allocation.estimate import SPEECH, Anchored, Measured, SecondOrder
from flowvox.quantizers.allocation.ledger import default_folder
from flowvox.quantizers.allocation.problem import Problem, Request
from flowvox.quantizers.allocation.shipped import allocated_bytes
from flowvox.quantizers.allocation.solve import Budget, least_size, solve
from flowvox.recipe import load_recipe
from flowvox.reference.checkpoint import Checkpoint

RECIPES = ("int8", "int4", "int4-best", "int4-mixed")
BUDGETS = 8
HEAD = (
    "| allocated | MB | bits | loss, sum of parts | KLD | same FSQ level | END margin |",
    "|---|---:|---:|---:|---:|---:|---:|",
)


@dataclass(frozen=True)
class Point:
    """size: bytes; predicted: loss as a sum of parts, of allocated plans."""

    name: str
    size: int
    damage: Damage
    predicted: float | None = None


def points(problem: Problem, anchored: Anchored, measured: Measured) -> Iterator[Point]:
    """The recipes, then the best plan for each of some budgets, smallest first."""
    for name in RECIPES:
        recipe = load_recipe(name)
        yield Point(name, allocated_bytes(problem, recipe), measured.recipe(recipe))
    yardstick = measured.recipe(load_recipe("int4"))
    parts = [
        [anchored.part(g, i) for i in range(len(rules))] for g, rules in enumerate(problem.rules)
    ]
    losses = [
        [(d.kld / yardstick.kld + d.latent / yardstick.latent) / 2 for d in row] for row in parts
    ]
    costs = problem.costs(losses)
    smallest, largest = least_size(costs) or 1, sum(max(row) for row in problem.sizes)
    for k in range(BUDGETS):
        size = math.ceil(smallest * (0.7 * largest / smallest) ** ((k + 0.2) / BUDGETS))
        found = solve(costs, Budget(size, math.inf))
        assert found is not None
        used = sum(row[i] for row, i in zip(problem.sizes, found.choice, strict=True))
        yield Point(f"auto {k + 1}", used, measured.whole(found.choice), found.loss)


def plot(found: Sequence[Point]) -> str:
    """Plans as a line, recipes as points."""
    title = "Quality against size: layers, heads and tables"
    with picture(7, 4, title, "MB", "semantic KL divergence, nats a frame") as drawn:
        plans = [point for point in found if point.predicted is not None]
        drawn.axes.plot(
            [p.size / 1e6 for p in plans],
            [p.damage.kld for p in plans],
            "o-",
            ms=4,
            label="-r auto",
        )
        for point in (point for point in found if point.predicted is None):
            where = point.size / 1e6, point.damage.kld
            drawn.axes.plot(*where, "s", ms=5, color="tab:orange")
            drawn.axes.annotate(point.name, where, (5, 4), textcoords="offset points", fontsize=8)
        drawn.axes.set_yscale("log")
        drawn.axes.legend(fontsize=8)
    return drawn.svg


def page(found: Sequence[Point], weights: int, model: str) -> str:
    """The same as a table."""
    lines = [
        f"# Quality against size on {model}",
        "",
        "Made by `python -m flowvox.eval.methods.front`; do not edit. Backbone, flow head and tables; "
        "each whole plan measured, teacher-forced, on utterances of calibration texts. A loss of 1 is "
        "that of `int4`.",
        "",
        *HEAD,
    ]
    for p in sorted(found, key=lambda p: p.size):
        predicted = "-" if p.predicted is None else f"{p.predicted:.3f}"
        lines.append(
            f"| {p.name} | {p.size / 1e6:.2f} | {8 * p.size / weights:.2f} | {predicted} | "
            f"{p.damage.kld:.5f} | {1 - p.damage.fsq:.1%} | {p.damage.end_margin:.2f} |"
        )
    return "\n".join([*lines, "", "![quality against size](front.svg)"]) + "\n"


def main() -> None:
    """Measure, write front.md and front.svg."""
    parser = argparse.ArgumentParser(description="Quality against size, of plans and of recipes.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    source = Checkpoint.open(options.checkpoint)
    source_hash, folder = source.source_hash(), default_folder()
    problem = Problem(source, Request(1e12), "gptq")
    measured = Measured(problem, source_hash, folder)
    estimated = SecondOrder(problem, source_hash, folder, speech=SPEECH["measured"])
    found = []
    for point in points(problem, Anchored(problem, measured, estimated), measured):
        found.append(point)
        print(f"{point.name}: {point.damage.kld:.5f}", file=sys.stderr, flush=True)
    weights = sum(
        math.prod(source.shapes[name]) for group in problem.groups for name in group.tensors
    )
    model = f"{options.checkpoint.name} ({source_hash[:12]})"
    write_beside(options.out / "front.svg", plot(found).encode())
    write_beside(options.out / "front.md", page(found, weights, model).encode())


if __name__ == "__main__":
    main()
