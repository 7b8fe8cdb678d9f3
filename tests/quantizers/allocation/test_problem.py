"""What is decided, and that predicted bytes and seconds are those of the artifact and the planner."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from flowvox.config import DEFAULT_STEPS
from flowvox.errors import RecipeError
from flowvox.exporters.onnx.bundle_export import export_bundle
from flowvox.exporters.onnx.check import Recording
from flowvox.planner.devices import load_device
from flowvox.planner.published import shape_config
from flowvox.planner.speed import predict
from flowvox.quantizers.allocation.candidates import label
from flowvox.quantizers.allocation.groups import all_groups
from flowvox.quantizers.allocation.problem import Problem, Request
from flowvox.quantizers.allocation.solve import total
from flowvox.reference.activations import record
from flowvox.reference.checkpoint import Checkpoint
from flowvox.tensors import checkpoint_tensors, component_of

PI = load_device("raspberry-pi-5")


def test_every_matrix_outside_the_codec_is_in_one_group() -> None:
    config = shape_config("4b")
    shapes = checkpoint_tensors(config, encoder=False)
    grouped = [name for group in all_groups(config) for name in group.tensors]
    matrices = [n for n, s in shapes.items() if len(s) == 2 and component_of(n) != "codec_decoder"]
    assert sorted(grouped) == sorted(matrices)


def test_a_pattern_means_its_group_and_nothing_else() -> None:
    config = shape_config("4b")
    names = checkpoint_tensors(config, encoder=False)
    for group in all_groups(config):
        here = [n for n in names if component_of(n) == group.component]
        assert tuple(n for n in here if fnmatchcase(n, group.pattern)) == group.tensors


def mixed(problem: Problem) -> tuple[int, ...]:
    """A choice with every format in it."""
    return tuple(g % len(rules) for g, rules in enumerate(problem.rules))


def test_the_recipe_says_what_was_chosen(micro: Checkpoint) -> None:
    problem = Problem(micro, Request(1e9, None, PI))
    choice = mixed(problem)
    recipe = problem.recipe(choice, "auto", "")
    for group, rules, i in zip(problem.groups, problem.rules, choice, strict=True):
        for name in group.tensors:
            assert label(recipe.rule(group.component, name)) == label(rules[i])
    assert recipe.kv_cache == problem.rules[-1][choice[-1]].format
    assert recipe.rule("backbone", "layers.0.ffn_norm.weight").format == "float32"
    assert recipe.rule("codec_decoder", "anything").format == "float16"


def test_seconds_are_those_of_the_planner(micro: Checkpoint) -> None:
    problem = Problem(micro, Request(None, 1.0, PI))
    choice = mixed(problem)
    nothing = [[0.0] * len(rules) for rules in problem.rules]
    seconds = total(problem.costs(nothing), choice).seconds
    planned = predict(PI, micro.config, problem.recipe(choice, "auto", ""), DEFAULT_STEPS)
    assert problem.rtf(seconds) == pytest.approx(planned.rtf)


def test_the_cache_is_decided_where_its_time_is_known(micro: Checkpoint) -> None:
    """No bytes of the bundle, some time on a processor; on CUDA it is what attention computes in."""
    cuda = load_device("rtx-4060-8gb")
    found = {
        kind: Problem(micro, Request(1e9, None, device))
        for kind, device in (("any", None), ("cpu", PI), ("cuda", cuda))
    }
    formats = {kind: [rule.format for rule in problem.rules[-1]] for kind, problem in found.items()}
    assert formats == {
        "any": ["float32"], "cpu": ["float32", "float16", "int8"], "cuda": ["float16"]
    }  # fmt: skip
    assert found["cpu"].sizes[-1] == [0, 0, 0]
    wide, half, small = found["cpu"].seconds[-1]
    assert wide == 2 * half == 4 * small > 0


def test_bytes_are_those_of_the_bundle(micro: Checkpoint, tmp_path: Path) -> None:
    problem = Problem(micro, Request(1e9))
    choice = tuple(min(1, len(rules) - 1) for rules in problem.rules)
    nothing = [[0.0] * len(rules) for rules in problem.rules]
    size = total(problem.costs(nothing), choice).size + problem.fixed_size

    def recordings(source: object, report: object) -> dict[str, Recording]:
        return {name: Recording(*both) for name, both in record(micro).items()}

    recipe = problem.recipe(choice, "auto", "")
    manifest = export_bundle(micro, recipe, tmp_path / "b", recordings)
    real = sum(entry["bytes"] for entry in manifest["files"].values())
    layers = micro.config.backbone.n_layers + micro.config.flow.n_layers + 10
    assert real <= size <= real + 6_000 * layers  # graphs of a small model are small, too


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(1e4), "the smallest bundle"),
        (Request(None, 1e-6, PI), "the best that any formats reach"),
    ],
)
def test_the_impossible_is_said_with_what_is_possible(
    micro: Checkpoint, request_: Request, says: str
) -> None:
    with pytest.raises(RecipeError, match=says):
        _ = Problem(micro, request_).budget


def test_both_budgets_at_once(micro: Checkpoint) -> None:
    """Smallest and fastest are not the same formats."""
    problem = Problem(micro, Request(1e9, None, load_device("epyc-zen3-2-cores")))
    costs = problem.costs([[0.0] * len(rules) for rules in problem.rules])
    fastest = sum(min(c.seconds for c in group) for group in costs)
    smallest = sum(min(c.size for c in group) for group in costs)
    request = Request(
        smallest + problem.fixed_size, problem.rtf(fastest) * 1.0001, problem.request.device
    )
    with pytest.raises(RecipeError, match="both budgets"):
        _ = Problem(micro, request).budget
