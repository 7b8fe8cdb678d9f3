"""Seconds per frame and to the first audio: traffic or arithmetic, the slower, plus overhead."""

from __future__ import annotations

from dataclasses import dataclass

from flowvox.config import ModelConfig
from flowvox.planner.devices import Device
from flowvox.planner.formats import moved
from flowvox.planner.memory import PROMPT, cache_bytes
from flowvox.planner.work import Product, frame_products, nodes
from flowvox.recipe import Recipe

FEW_ROWS = 16
TYPICAL_FRAMES = 100  # 8 s: the middle of such an utterance is where the cache is read
FIRST_FRAMES = 2  # of the first chunk (runtime.plan.chunk_sizes)
STAGES = ("backbone", "flow", "codec")


@dataclass(frozen=True)
class Speed:
    """frame: seconds by stage.

    rtf: compute time / audio time in the long run; floor_rtf: what of it is reading memory;
    first_audio: seconds from the text to the first chunk, with a prompt of 200 positions.
    """

    frame: dict[str, float]
    floor_rtf: float
    rtf: float
    first_audio: float

    @property
    def total(self) -> float:
        return sum(self.frame.values())


def predict(device: Device, config: ModelConfig, recipe: Recipe, steps: int) -> Speed:
    """How fast `recipe` runs with that many evaluations of the flow head."""
    products = frame_products(config, recipe, steps)
    frame = dict.fromkeys(STAGES, 0.0)
    floor = 0.0
    for product in products:
        frame[product.stage] += product.times * product_seconds(device, product)
        floor += product.times * _traffic_seconds(device, product)
    attention = cache_seconds(device, config, recipe.kv_cache)
    frame["backbone"] += attention
    for stage, count in nodes(config, steps).items():
        frame[stage] += count * device.call_us * 1e-6
    prefill = sum(
        product_seconds(device, product, PROMPT)
        for product in products
        if product.stage == "backbone"
    )
    total = sum(frame.values())
    first = prefill + FIRST_FRAMES * total
    rate = config.frame_rate
    return Speed(frame, (floor + attention) * rate, total * rate, first)


def cache_seconds(device: Device, config: ModelConfig, kv_cache: str) -> float:
    """Reading a KV cache of that type once, in the middle of a typical utterance."""
    read = device.bandwidth * device.share * 1e9
    return cache_bytes(config, kv_cache) * (PROMPT + TYPICAL_FRAMES / 2) / read


def product_seconds(device: Device, product: Product, rows: float | None = None) -> float:
    """One product: its weights through memory, or its arithmetic, whichever takes longer."""
    rows = product.rows if rows is None else rows
    speeds = device.kernel(product.rule)
    rate = speeds.few if rows <= FEW_ROWS else speeds.many
    bytes_moved = product.weights * moved(product.rule, device.kind, rows)
    return max(bytes_moved / speeds.read, 2 * rows * product.weights / rate) * 1e-9


def _traffic_seconds(device: Device, product: Product) -> float:
    read = device.kernel(product.rule).read
    return product.weights * moved(product.rule, device.kind, 1) / read * 1e-9
