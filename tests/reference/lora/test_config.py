"""adapter_config.json: the scale of every module, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowvox.errors import AdapterError
from flowvox.reference.lora.config import LoraConfig


def load(folder: Path, **config: Any) -> LoraConfig:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16} | config))
    return LoraConfig.load(file)


@pytest.mark.parametrize(
    ("config", "rank", "scale"),
    [
        ({}, 8, 2.0),
        ({"lora_alpha": 4}, 8, 0.5),
        ({"r": 16, "use_rslora": True}, 16, 4.0),
        ({"rank_pattern": {"attention.wq": 4}}, 4, 4.0),
        ({"rank_pattern": {"q": 4}}, 8, 2.0),  # whole parts of the path, as PEFT
        ({"rank_pattern": {r"layers\.[01]\.attention\.w[qk]": 2}}, 2, 8.0),
        ({"rank_pattern": {"^attention.wq": 2}}, 8, 2.0),  # "^" is the beginning of the path
        ({"alpha_pattern": {"wq": 32}}, 8, 4.0),
        ({"rank_pattern": {"wq": 4}, "alpha_pattern": {"wq": 6}, "use_rslora": True}, 4, 3.0),
        ({"rank_pattern": {"wk": 4}, "alpha_pattern": {"wk": 6}}, 8, 2.0),
    ],
)
def test_rank_and_scale(tmp_path: Path, config: Any, rank: int, scale: float) -> None:
    lora = load(tmp_path, **config)
    module = "layers.1.attention.wq"
    assert (lora.rank_of(module), lora.scale_of(module)) == (rank, scale)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"modules_to_save": ["norm"]}, "modules_to_save"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"r": 0}, "rank 0"),
        ({"r": True}, "rank True"),
        ({"rank_pattern": {"wq": "8"}}, "rank '8'"),
        ({"rank_pattern": {"w(q": 8}}, "w(q"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
    ],
)
def test_refused(tmp_path: Path, config: Any, says: str) -> None:
    with pytest.raises(AdapterError) as refused:
        load(tmp_path, **config)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_harmless_settings_are_taken(tmp_path: Path) -> None:
    load(tmp_path, modules_to_save=None, rank_pattern={}, init_lora_weights=True, lora_dropout=0.1,
         target_modules=["wq"], task_type="CAUSAL_LM", future_setting=None)  # fmt: skip


@pytest.mark.parametrize("text", ["[]", "{", '{"peft_type": "LORA", "lora_alpha": 1}'])
def test_not_a_config(tmp_path: Path, text: str) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(text)
    with pytest.raises(AdapterError):
        LoraConfig.load(file)
