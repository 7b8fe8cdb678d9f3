"""`python -m flowvox.quantizers.allocation.shipped CHECKPOINT -o FOLDER`: the recipes that are found.

    int4-tuned   the least loss in the bytes of int4
    int4-mixed   the least loss in the bytes of int4 and a tenth more
    small        the fewest bytes with at most half of int4-best's damage: with all of it, `standard`
                 could not say that WER stays inside its margin

They belong to one checkpoint (models/tiny): after it was trained anew they are made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from flowvox.planner.devices import load_device
from flowvox.quantizers.allocation.allocate import Plan, allocate
from flowvox.quantizers.allocation.damage import Damage
from flowvox.quantizers.allocation.estimate import SPEECH, Anchored, Measured, SecondOrder
from flowvox.quantizers.allocation.explain import summary
from flowvox.quantizers.allocation.ledger import default_folder
from flowvox.quantizers.allocation.problem import Problem, Request
from flowvox.quantizers.allocation.solve import Budget, Cost, least_size, solve
from flowvox.quantizers.encode import stored_bytes
from flowvox.recipe import Recipe, Rule, load_recipe, save_recipe
from flowvox.reference.checkpoint import Checkpoint
from flowvox.source import ModelSource

PLAIN, CALIBRATED = "int4", "int4-best"
MORE = 1.1  # of the bytes of PLAIN
PROCESSOR = "x86-8-cores-ddr5"  # `small` may have what only processors have kernels for
SHARE = 0.5  # of the damage of CALIBRATED that `small` may do
ROOM = 1.5  # times the bytes of PLAIN are certainly enough for it
HALVINGS = 7  # of the interval in which the smallest size is looked for
# Where the codec decoder of models/tiny is steep (its weights are computed: locked/construct.py).
# 8 bits there are heard; the rest of it stands them.
STEEP = (
    "*decoder_blocks.[246].*",
    "*decoder_blocks.[37].*.feed_forward.*",
    "*output_proj.*",
)
LEFT_OUT = (
    Rule("codec_encoder", "omit"),
    *(Rule("codec_decoder", "float16", tensor=tensor) for tensor in STEEP),
    Rule("codec_decoder", "w8"),
)
DESCRIPTIONS = {
    "int4-tuned": "The bytes of int4, every group of models/tiny in the format that flowvox quantize "
    "-r auto found for it. Calibrated. For other models, find their own.",
    "int4-mixed": "The size of int4 plus 10 %, every group of models/tiny in the format that flowvox "
    "quantize -r auto found for it. Calibrated. For other models, find their own.",
    "small": "For processors. The least bytes of models/tiny with at most half the teacher-forced "
    "damage of int4-best. Groups as flowvox quantize -r auto found them, the codec decoder in 8 "
    "bits where it stands them, no codec encoder. Calibrated. For other models, find their own.",
}


def find_tuned(source: ModelSource, source_hash: str, folder: Path) -> Plan:
    """The plan of least loss in the bytes of the plain recipe."""
    return _find_at(1.0, source, source_hash, folder)


def find_mixed(source: ModelSource, source_hash: str, folder: Path) -> Plan:
    """The plan of least loss in MORE times the bytes of the plain recipe."""
    return _find_at(MORE, source, source_hash, folder)


def _find_at(times: float, source: ModelSource, source_hash: str, folder: Path) -> Plan:
    problem = Problem(source, Request(1e12), "gptq")
    size = problem.fixed_size + allocated_bytes(problem, load_recipe(PLAIN))
    problem = Problem(source, Request(times * size), "gptq")
    return _allocated(problem, *_damages(problem, source_hash, folder))


def find_small(source: ModelSource, source_hash: str, folder: Path) -> Plan:
    """The plan of the fewest bytes that does at most SHARE of int4-best's damage of either kind."""
    device = load_device(PROCESSOR)
    problem = Problem(source, Request(1e12, None, device), "gptq")
    anchored, measured = _damages(problem, source_hash, folder)
    most = measured.recipe(load_recipe(CALIBRATED))
    parts = [
        [anchored.part(g, i) for i in range(len(rules))] for g, rules in enumerate(problem.rules)
    ]
    costs = problem.costs([[d.kld / most.kld + d.latent / most.latent for d in p] for p in parts])
    low, high = least_size(costs) or 0, ROOM * allocated_bytes(problem, load_recipe(PLAIN))
    size = smallest(low, high, lambda size: _little(measured.whole(_choice(costs, size)), most))
    problem = Problem(source, Request(problem.fixed_size + size, None, device), "gptq")
    return _allocated(problem, *_damages(problem, source_hash, folder))


def smallest(low: float, high: float, good: Callable[[float], bool]) -> float:
    """The smallest size between low and high that is good, to a part of the interval; high is."""
    if good(low):
        return low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def allocated_bytes(problem: Problem, recipe: Recipe) -> int:
    """Of everything that is allocated, under a recipe."""
    return sum(
        stored_bytes(name, problem.source.shapes[name], recipe.rule(group.component, name))
        for group in problem.groups
        for name in group.tensors
    )


def as_recipe(plan: Plan, name: str, first: Sequence[Rule] = ()) -> Recipe:
    """The plan under the name that it is shipped by, after some rules of its own."""
    found = plan.problem.recipe(plan.choice, name, DESCRIPTIONS[name])
    return replace(found, rules=(*first, *found.rules))


def _little(damage: Damage, most: Damage) -> bool:
    return damage.kld <= SHARE * most.kld and damage.latent <= SHARE * most.latent


def _choice(costs: list[list[Cost]], size: float) -> tuple[int, ...]:
    found = solve(costs, Budget(size, float("inf")))
    assert found is not None, "not below the least size"
    return found.choice


def _damages(problem: Problem, source_hash: str, folder: Path) -> tuple[Anchored, Measured]:
    measured = Measured(problem, source_hash, folder)
    estimated = SecondOrder(problem, source_hash, folder, speech=SPEECH["measured"])
    return Anchored(problem, measured, estimated), measured


def _allocated(problem: Problem, anchored: Anchored, measured: Measured) -> Plan:
    return allocate(problem, anchored.part, measured.whole)


def main() -> None:
    """Find the recipes and write them."""
    parser = argparse.ArgumentParser(description="The recipes that are found for one checkpoint.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("src/flowvox/recipes"))
    options = parser.parse_args()
    source = Checkpoint.open(options.checkpoint)
    source_hash, folder = source.source_hash(), default_folder()
    for name, find, first in (
        ("int4-tuned", find_tuned, ()),
        ("int4-mixed", find_mixed, ()),
        ("small", find_small, LEFT_OUT),
    ):
        plan = find(source, source_hash, folder)
        save_recipe(as_recipe(plan, name, first), options.out / f"{name}.yaml")
        print(f"{name}:", *summary(plan), sep="\n  ")


if __name__ == "__main__":
    main()
