"""adapter_config.json of a PEFT LoRA: rank and scale of every module, and what cannot be merged.

Keys and their meaning: peft.LoraConfig (0.21). What changes the formula W + scale * B A, or keeps
weights elsewhere than in A and B, is refused by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowvox.errors import AdapterError

CONFIG = "adapter_config.json"
REFUSED = {
    "use_dora": "DoRA also rescales the rows of the merged weights",
    "use_qalora": "QALoRA pools the inputs of a layer",
    "use_bdlora": "BD-LoRA splits its factors into blocks",
    "lora_bias": "this model has no biases",
    "fan_in_fan_out": "this model has no layers with transposed weights",
    "modules_to_save": "whole modules were trained beside the adapter",
    "trainable_token_indices": "rows of an embedding were trained beside the adapter",
    "target_parameters": "it adapts parameters that are no matrix of a linear layer",
    "layer_replication": "it repeats layers of the model",
    "alora_invocation_tokens": "it is switched on by tokens of the prompt",
    "arrow_config": "it chooses between several adapters by their inputs",
    "monteclora_config": "its weights are drawn anew for each run",
    "kasa_config": "it also changes the singular values of the weights",
}
# The others (PiSSA, OLoRA, CorDA, LoftQ, ...) replace the base weights before training begins.
PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LoraConfig:
    """rank and alpha of modules without a pattern of their own; rslora: alpha / sqrt(rank)."""

    rank: int
    alpha: float
    rslora: bool
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]

    @classmethod
    def load(cls, path: Path) -> LoraConfig:
        """Raises AdapterError, naming the key that is malformed or cannot be merged."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise AdapterError(
                f"{path}: cannot be read ({error.strerror}); PEFT writes it beside the weights, and "
                "without it the scale of an adapter is not known"
            ) from None
        except (ValueError, RecursionError):
            raise AdapterError(f"{path}: is not JSON; download it again") from None
        if not isinstance(raw, dict) or raw.get("peft_type") != "LORA":
            raise AdapterError(f"{path}: its peft_type is not LORA; flowvox merges LoRA adapters")
        _check_plain(path, raw)
        try:
            return cls(
                rank=_rank(raw["r"]),
                alpha=_alpha(raw["lora_alpha"]),
                rslora=bool(raw.get("use_rslora")),
                ranks={key: _rank(n) for key, n in _patterns(raw, "rank_pattern")},
                alphas={key: _alpha(a) for key, a in _patterns(raw, "alpha_pattern")},
            )
        except KeyError as missing:
            raise AdapterError(f"{path}: has no {missing}; download it again") from None
        except ValueError as error:
            raise AdapterError(f"{path}: {error}") from None

    def rank_of(self, module: str) -> int:
        """Of a module by its path in the model that was trained."""
        return self.ranks.get(_pattern_for(self.ranks, module), self.rank)

    def scale_of(self, module: str) -> float:
        """What B A is multiplied by."""
        alpha = self.alphas.get(_pattern_for(self.alphas, module), self.alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.rslora else rank)


def _check_plain(path: Path, raw: Mapping[str, Any]) -> None:
    for key, why in REFUSED.items():
        if raw.get(key):
            raise AdapterError(f"{path}: {key} is set, {why}; merge it with PEFT itself")
    if raw.get("bias", "none") != "none":
        raise AdapterError(f"{path}: bias is {raw['bias']!r}, but this model has no biases")
    start = raw.get("init_lora_weights")
    if start not in PLAIN_STARTS:
        raise AdapterError(
            f"{path}: init_lora_weights {start!r} may have replaced the base weights; save the "
            "adapter as plain LoRA (PEFT: path_initial_model_for_weight_conversion)"
        )


def _patterns(raw: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Regular expressions of module paths with their values."""
    patterns = raw.get(key) or {}
    if not isinstance(patterns, dict):
        raise ValueError(f"{key} is not an object")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{key} has the malformed pattern {pattern!r} ({error})") from None
    return list(patterns.items())


def _pattern_for(patterns: Mapping[str, Any], module: str) -> str:
    """The first that matches the end of the path, as peft.utils.get_pattern_key."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", module)), module)


def _rank(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"the rank {value!r} is not a positive integer")
    return value


def _alpha(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"lora_alpha {value!r} is not a number")
    return float(value)
