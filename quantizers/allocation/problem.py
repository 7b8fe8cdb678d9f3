"""What is to be decided: groups, the rules each may have, their bytes and their time, the budgets."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

from flowvox.config import DEFAULT_STEPS
from flowvox.errors import RecipeError
from flowvox.planner.devices import Device
from flowvox.planner.speed import cache_seconds, predict, product_seconds
from flowvox.planner.work import frame_products
from flowvox.quantizers.allocation.candidates import candidates, label
from flowvox.quantizers.allocation.groups import KV_CACHE, Group, all_groups
from flowvox.quantizers.allocation.solve import Budget, Cost, least_seconds, least_size
from flowvox.quantizers.encode import stored_bytes
from flowvox.recipe import Recipe, Rule
from flowvox.source import ModelSource
from flowvox.tensors import component_of

NORMS = (
    Rule("backbone", "float32", tensor="*norm.weight"),
    Rule("flow", "float32", tensor="*norm.weight"),
)
REST = Rule("*", "float16")
# Of the .onnx files, for every transformer layer of the model; of manifest and card (both measured).
GRAPH_BYTES, TEXT_BYTES = 13_500, 24_000
VOICE_HEADER = 128


@dataclass(frozen=True)
class Request:
    """max_size: bytes of the bundle; target_rtf: compute time / audio time on `device`."""

    max_size: float | None = None
    target_rtf: float | None = None
    device: Device | None = None


class Problem:
    """A checkpoint and a request. rules[g], costs(...)[g]: of group g, candidate by candidate.

    The last group is the KV cache: it takes time, and no bytes of the bundle.

    method: of integer blocks; "gptq" has the checkpoint calibrated.
    """

    def __init__(self, source: ModelSource, request: Request, method: str = "search") -> None:
        self.source, self.config, self.request = source, source.config, request
        self.method = method
        kind = request.device.kind if request.device else None
        self.groups: list[Group] = [*all_groups(source.config), KV_CACHE]
        self.rules: list[list[Rule]] = [candidates(group, kind, method) for group in self.groups]
        self.sizes = [
            [sum(stored_bytes(n, source.shapes[n], rule) for n in group.tensors) for rule in rules]
            for group, rules in zip(self.groups, self.rules, strict=True)
        ]
        self.seconds = self._seconds()

    def costs(self, losses: list[list[float]]) -> list[list[Cost]]:
        """One loss for every candidate of every group."""
        return [
            [Cost(*one) for one in zip(*rows, strict=True)]
            for rows in zip(self.sizes, self.seconds, losses, strict=True)
        ]

    @cached_property
    def budget(self) -> Budget:
        """What is left for the groups. Raises RecipeError where none would do, saying what would."""
        request, nothing = self.request, [[0.0] * len(rules) for rules in self.rules]
        costs, config = self.costs(nothing), self.config
        size = math.inf if request.max_size is None else request.max_size - self.fixed_size
        seconds = math.inf
        if request.target_rtf is not None:
            seconds = request.target_rtf / config.frame_rate - self.fixed_seconds
        smallest, fastest = least_size(costs), least_seconds(costs)
        assert smallest is not None
        assert fastest is not None
        if smallest > size:
            raise RecipeError(
                f"--max-size of {(request.max_size or 0) / 1e6:.1f} MB is impossible: the smallest "
                f"bundle of this checkpoint has {(smallest + self.fixed_size) / 1e6:.1f} MB"
            )
        if fastest > seconds:
            raise RecipeError(
                f"--target-rtf {request.target_rtf:g} is impossible on {self._device_title}: the best "
                f"that any formats reach there is {self.rtf(fastest):.2f}"
            )
        both = least_seconds(costs, size)
        if both is None or both > seconds:
            raise RecipeError(
                f"both budgets at once are impossible on {self._device_title}: in "
                f"{(request.max_size or 0) / 1e6:.1f} MB the best RTF is {self.rtf(both or 0):.2f}"
            )
        return Budget(size, seconds)

    @cached_property
    def fixed_size(self) -> int:
        """Bytes of the bundle that no choice changes."""
        grouped = {name for group in self.groups for name in group.tensors}
        base = Recipe("base", "", (*NORMS, REST))
        tensors = sum(
            stored_bytes(name, shape, base.rule(component, name))
            for name, shape in self.source.shapes.items()
            if name not in grouped and (component := component_of(name)) is not None
        )
        layers = self.config.backbone.n_layers + self.config.flow.n_layers
        layers += sum(self.config.codec.decoder_lengths)
        layers += sum(self.config.codec.encoder_lengths) if self.source.has_encoder else 0
        voices = [self.source.voice(name).nbytes + VOICE_HEADER for name in self.source.voices()]
        files = len(self.source.tokenizer_json()) + TEXT_BYTES + sum(voices)
        codec = self.config.codec  # both of its graphs hold the centroids in float32
        centroids = 4 * codec.semantic_codebook_size * codec.semantic_dim
        return tensors + files + GRAPH_BYTES * layers + (1 + self.source.has_encoder) * centroids

    @cached_property
    def fixed_seconds(self) -> float:
        """Seconds per frame that no choice changes: codec, attention, the nodes of the graphs."""
        device = self.request.device
        if device is None:
            return 0.0
        # The first candidate of every group is float16, that of the cache its own.
        plain = Recipe("plain", "", (*NORMS, REST), kv_cache=self.rules[-1][0].format)
        ours = [seconds[0] for seconds in self.seconds]
        return predict(device, self.config, plain, DEFAULT_STEPS).total - math.fsum(ours)

    def rtf(self, seconds: float) -> float:
        """Of groups that take so many seconds per frame."""
        return (seconds + self.fixed_seconds) * self.config.frame_rate

    def recipe(self, choice: tuple[int, ...], name: str, description: str) -> Recipe:
        """A rule for every group that differs from what most weights of its component have."""
        *chosen, cache = (rules[i] for rules, i in zip(self.rules, choice, strict=True))
        weight: dict[str, Counter[Rule]] = {}
        for group, rule in zip(self.groups[:-1], chosen, strict=True):
            count = sum(math.prod(self.source.shapes[n]) for n in group.tensors)
            weight.setdefault(group.component, Counter())[replace(rule, tensor="*")] += count
        usual = {component: found.most_common(1)[0][0] for component, found in weight.items()}
        exceptions = [rule for rule in chosen if replace(rule, tensor="*") != usual[rule.component]]
        cuda = self.request.device is not None and self.request.device.kind == "cuda"
        rules = (*NORMS, *exceptions, *usual.values(), REST)
        compute = "float16" if cuda else "float32"
        recipe = Recipe(name, description, rules, compute, cache.format)
        return Recipe.from_dict(recipe.to_dict(), name)

    @property
    def _device_title(self) -> str:
        return self.request.device.title if self.request.device else "any device"

    def _seconds(self) -> list[list[float]]:
        """Seconds per frame by group and candidate; 0 without a device."""
        device = self.request.device
        if device is None:
            return [[0.0] * len(rules) for rules in self.rules]
        *matrices, caches = self.rules
        found: dict[str, dict[str, float]] = {}
        for rule in {label(rule): rule for rules in matrices for rule in rules}.values():
            everywhere = Recipe("one", "", (replace(rule, component="*", tensor="*"),))
            found[label(rule)] = {
                p.tensor: p.times * product_seconds(device, p)
                for p in frame_products(self.config, everywhere, DEFAULT_STEPS)
            }
        return [
            [math.fsum(found[label(rule)].get(n, 0.0) for n in group.tensors) for rule in rules]
            for group, rules in zip(self.groups[:-1], matrices, strict=True)
        ] + [[cache_seconds(device, self.config, rule.format) for rule in caches]]
