"""Which recipe and which preset of sampling meet a target on a device, or why none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowvox.config import ModelConfig
from flowvox.planner.devices import Device
from flowvox.planner.formats import BASE_BLOCK, BY_BLOCK, KERNELS, MOST_ROWS, kernels, per_weight
from flowvox.planner.memory import Memory, artifact_bytes, memory
from flowvox.planner.speed import Speed, predict
from flowvox.planner.work import GUIDED, TOKENS, Product, frame_products
from flowvox.presets import QUALITIES, Quality, preset
from flowvox.recipe import TABLES, Recipe, Rule

# A plan prefers what would meet the target even if the prediction were off by this much
# (planner.published.ALLOWED).
MARGIN = 1.25
# Yardsticks, comparisons, the bundle of the package: shipped, but nobody should convert with them.
# Twins ("-best") of recipes whose bytes and speed they have: a plan knows nothing of quality. And what
# was allocated for models/tiny alone.
NOT_OFFERED = (
    "fp32", "nf4", "fp4", "int8-dynamic", "embedded", "int4-best", "int4-cpu-best", "int4-vnni-best",
    "int4-mixed", "int4-tuned", "small",
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A recipe with a preset of sampling (flowvox.presets) on the device.

    evaluations: of the flow head a frame, what the preset's solver and steps take; bits: stored per
    weight of what is multiplied in backbone and flow head; backbone_bits: the former.
    """

    recipe: str
    quality: Quality
    evaluations: int
    bits: float
    backbone_bits: float
    bytes: int
    speed: Speed
    memory: Memory
    usable: float

    @property
    def fits(self) -> bool:
        """Whether it fits the memory."""
        return self.memory.total <= self.usable

    def meets(self, target: float) -> bool:
        return self.fits and self.speed.rtf <= target


@dataclass(frozen=True)
class Plan:
    """The answer. choice: None if no candidate meets the target, then `reason` says why."""

    device: Device
    target: float
    candidates: tuple[Candidate, ...]
    choice: Candidate | None
    offline: Candidate | None
    reason: str | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `flowvox plan`; speed and memory are those of the choice, else of `offline`."""
        shown = self.choice or self.offline
        data: dict[str, Any] = {
            "device": self.device.name,
            "title": self.device.title,
            "target_rtf": self.target,
            "fits": self.choice is not None,
            "reason": self.reason,
            "offline": None if self.offline is None else _row(self.offline),
            "notes": list(self.notes),
            "sources": list(self.device.sources),
        }
        if shown is not None:
            data |= _row(shown)
        return data | {"candidates": [_row(candidate) for candidate in self.candidates]}


def make_plan(
    config: ModelConfig, recipes: Sequence[Recipe], device: Device, target: float
) -> Plan:
    """Every recipe with every preset on the device; the best that meets `target` RTF.

    Best is more evaluations, then more bits per weight: the published setting as exactly as the
    device allows, with a margin for the prediction's error where any candidate has one.
    """
    candidates = [
        candidate
        for recipe in recipes
        if _runs_on(config, recipe, device)
        for candidate in _candidates(config, recipe, device)
    ]
    candidates.sort(key=lambda c: (-c.evaluations, -c.bits, c.speed.rtf))
    safe = next((c for c in candidates if c.meets(target / MARGIN)), None)
    choice = safe or next((c for c in candidates if c.meets(target)), None)
    fitting = [c for c in candidates if c.fits]
    offline = None
    if choice is None:
        # Without a deadline nothing is gained by fewer evaluations.
        offline = min(fitting, key=lambda c: (-c.evaluations, c.speed.rtf), default=None)
    frame_seconds = 1 / config.frame_rate
    reason = None if choice else _reason(device, candidates, target, frame_seconds)
    notes = _notes(config, device, recipes, choice or offline)
    if choice is not safe:
        notes.append("the target is met by less than the error of such predictions")
    return Plan(device, target, tuple(candidates), choice, offline, reason, tuple(notes))


def offered(recipes: Sequence[Recipe], device: Device) -> list[Recipe]:
    """The shipped recipes worth making a bundle with for a device.

    Recipes for GGUF are left out: this runtime does not run such files. CUDA has no attention in
    float32: bundles that compute so run there, but copy their cache to the processor at each step.
    Larger 4-bit blocks lose more, so that a processor has to be known to gain by them.
    """
    compute = "float32" if device.kind == "cpu" else "float16"
    return [
        recipe
        for recipe in recipes
        if recipe.name not in NOT_OFFERED
        and recipe.compute == compute
        and {rule.format for rule in recipe.rules} <= {*KERNELS["cpu"], "omit"}
        and all(_known(rule, device) for rule in recipe.rules)
    ]


def _known(rule: Rule, device: Device) -> bool:
    """Whether the speed of the rule's blocks is known there, as far as they make it."""
    plain = rule.format not in BY_BLOCK or rule.block <= BASE_BLOCK or rule.component in TABLES
    return plain or device.kind == "cuda" or kernels(rule)[0] in device.kernels


def _runs_on(config: ModelConfig, recipe: Recipe, device: Device) -> bool:
    formats = {product.rule.format for product in frame_products(config, recipe, 1)}
    return formats <= set(device.kernels)


def _candidates(config: ModelConfig, recipe: Recipe, device: Device) -> list[Candidate]:
    products = [p for p in frame_products(config, recipe, 1) if p.stage != "codec"]
    need, size = memory(config, recipe, device.kind), artifact_bytes(config, recipe)
    return [
        Candidate(
            recipe=recipe.name,
            quality=quality,
            evaluations=preset(quality).evaluations,
            bits=_bits(products),
            backbone_bits=_bits([p for p in products if p.stage == "backbone"]),
            bytes=size,
            speed=predict(device, config, recipe, preset(quality).evaluations),
            memory=need,
            usable=device.usable * 1e9,
        )
        for quality in QUALITIES
    ]


def _bits(products: Sequence[Product]) -> float:
    """Mean bits per weight on disk."""
    weights = sum(p.weights for p in products)
    return 8 * sum(p.weights * per_weight(p.rule) for p in products) / weights


def _reason(
    device: Device, candidates: list[Candidate], target: float, frame_seconds: float
) -> str:
    """Why nothing meets the target, in one sentence."""
    if not candidates:
        return f"{device.title}: onnxruntime has no kernels for this recipe there"
    fitting = [c for c in candidates if c.fits]
    if not fitting:
        least = min(candidates, key=lambda c: c.memory.total)
        return (
            f"{device.title}: {least.recipe} needs {least.memory.total / 1e9:.1f} GB, but of its "
            f"{device.memory:.0f} GB only {device.usable:.1f} are usable"
        )
    fastest = min(fitting, key=lambda c: c.speed.rtf)
    budget = target * frame_seconds
    left = "" if target == 1 else f", of which --target-rtf {target:g} leaves {_time(budget)}"
    seconds = fastest.speed.frame["backbone"]
    what = f"the {int(fastest.backbone_bits)}-bit backbone alone"
    if seconds <= budget:
        seconds, what = fastest.speed.total, f"{fastest.recipe}, {fastest.quality} quality,"
    return f"{device.title}: {what} needs {_time(seconds)} per {frame_seconds:.2f} s frame{left}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.1f} ms"


def _notes(
    config: ModelConfig, device: Device, recipes: Sequence[Recipe], shown: Candidate | None
) -> list[str]:
    notes = ["a prediction; docs/devices says how far such predictions were off"]
    if shown and shown.quality != "full":
        published = preset("full").evaluations
        notes.append(
            f"{shown.quality} evaluates the flow head {shown.evaluations} times a frame, not the "
            f"published {published}: speak with --quality {shown.quality}, and listen first"
        )
    recipe = next((r for r in recipes if shown and r.name == shown.recipe), None)
    if recipe is None or device.kind != "cuda":
        return notes
    notes.append("the float16 graphs were run on a processor, not on a GPU")
    if recipe.compute != "float16":
        notes.append(
            f"{recipe.name} computes in float32, for which CUDA has no attention: the figures are "
            "those of a bundle that computes in float16 (int4-gpu, int4-gpu-small, fp16-gpu)"
        )
    flow = {p.rule.format for p in frame_products(config, recipe, 1) if p.stage == "flow"}
    rows = GUIDED * TOKENS
    for name in sorted(flow & set(MOST_ROWS)):
        if MOST_ROWS[name] < rows:
            notes.append(f"onnxruntime expands {name} weights for the flow head's {rows} rows")
        else:
            notes.append(
                f"a flow head in {name} needs onnxruntime 1.28 or later; older ones expand its weights "
                "for 2 to 16 rows"
            )
    return notes


def _row(candidate: Candidate) -> dict[str, Any]:
    speed = candidate.speed
    return {
        "recipe": candidate.recipe,
        "quality": candidate.quality,
        "evaluations": candidate.evaluations,
        "rtf": round(speed.rtf, 3),
        "floor_rtf": round(speed.floor_rtf, 3),
        "ms_per_frame": {name: round(1e3 * s, 2) for name, s in speed.frame.items()},
        "first_audio_seconds": round(speed.first_audio, 3),
        "memory_bytes": candidate.memory.to_dict(),
        "usable_bytes": round(candidate.usable),
        "bytes": candidate.bytes,
        "fits_memory": candidate.fits,
    }
