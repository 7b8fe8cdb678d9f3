"""params.json <-> the metadata keys of a `voxtral_tts` GGUF file.

The engine's keys cover what speaking needs. The whole of params.json goes along under a key of ours;
where that is missing, because another tool wrote the file, it is put together from the keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from flowvox.config import MODEL_TYPE, ModelConfig
from flowvox.errors import CheckpointError

ARCHITECTURE = MODEL_TYPE
PARAMS = "flowvox.params"
ADAPTERS = "flowvox.adapters"
VOICE_NAMES = f"{ARCHITECTURE}.voice_names"
NUMBERS = f"{ARCHITECTURE}.numbers"  # a key of ours, only where params.json has it
AUDIO = "multimodal.audio_model_args"
FLOW = f"{AUDIO}.acoustic_transformer_args"
ENCODING = f"{AUDIO}.audio_encoding_args"
CODEC = "multimodal.audio_tokenizer_args"

# key: (type, where it stands in params.json, value where params.json lacks it)
Field = tuple[str, str, Any]
_STACK = ("n_layers", "dim", "n_heads", "n_kv_heads", "head_dim", "hidden_dim")
_CODEC = ("dim", "hidden_dim", "n_heads", "n_kv_heads", "head_dim", "semantic_dim", "acoustic_dim")
FIELDS: dict[str, Field] = {
    **{f"llm.{key}": ("u32", key, None) for key in _STACK},
    "llm.rope_theta": ("f32", "rope_theta", None),
    "llm.norm_eps": ("f32", "norm_eps", None),
    "llm.vocab_size": ("u32", "vocab_size", None),
    "llm.tied_embeddings": ("bool", "tied_embeddings", True),
    **{f"fm.{key}": ("u32", f"{FLOW}.{key}", None) for key in (*_STACK, "input_dim")},
    "fm.rope_theta": ("f32", f"{FLOW}.rope_theta", 10000.0),
    "fm.sigma": ("f32", f"{FLOW}.sigma", 1e-5),
    "fm.sigma_max": ("f32", f"{FLOW}.sigma_max", 1.0),
    **{
        key: ("u32", f"{AUDIO}.{key}", None)
        for key in ("semantic_codebook_size", "acoustic_codebook_size", "n_acoustic_codebook")
    },
    "n_codebooks": ("u32", f"{ENCODING}.num_codebooks", None),
    "sample_rate": ("u32", f"{CODEC}.sampling_rate", None),
    "frame_rate": ("f32", f"{ENCODING}.frame_rate", None),
    "audio_token_id": ("u32", f"{AUDIO}.audio_token_id", 24),
    "begin_audio_token_id": ("u32", f"{AUDIO}.begin_audio_token_id", 25),
    "condition_dropped_token_id": ("u32", f"{AUDIO}.condition_dropped_token_id", 42),
    "bos_token_id": ("u32", "multimodal.bos_token_id", 1),
    **{f"codec.{key}": ("u32", f"{CODEC}.{key}", None) for key in _CODEC},
    "codec.patch_size": ("u32", f"{CODEC}.pretransform_patch_size", None),
    "codec.patch_proj_kernel": ("u32", f"{CODEC}.patch_proj_kernel_size", None),
    "codec.attn_window": ("u32", f"{CODEC}.attn_sliding_window_size", None),
    "codec.norm_eps": ("f32", f"{CODEC}.norm_eps", None),
    "codec.qk_norm_eps": ("f32", f"{CODEC}.qk_norm_eps", None),
    "codec.qk_norm": ("bool", f"{CODEC}.qk_norm", True),
    "codec.layer_scale": ("bool", f"{CODEC}.layer_scale", True),
    "codec.conv_strides": ("string", f"{CODEC}.decoder_convs_strides_str", None),
    "codec.conv_kernels": ("string", f"{CODEC}.decoder_convs_kernels_str", None),
    "codec.tfm_lengths": ("string", f"{CODEC}.decoder_transformer_lengths_str", None),
}
KINDS = {"u32": int, "f32": float, "bool": bool, "string": str}
# Of params.json, but in no key: how these models are built.
CONSTANT = {
    "use_biases": False,
    "causal": True,
    "model_type": MODEL_TYPE,
    f"{FLOW}.use_biases": False,
    f"{AUDIO}.input_embedding_concat_type": "sum",
    f"{CODEC}.channels": 1,
    f"{CODEC}.use_biases": False,
    f"{CODEC}.causal": True,
}
SAME = {"semantic_codebook_size", "acoustic_codebook_size"}  # stand in two places of params.json


def model_metadata(config: ModelConfig) -> dict[str, tuple[str, Any]]:
    """Key -> (type, value), architecture prefix included, `flowvox.params` last."""
    derived = {
        f"{ENCODING}.num_codebooks": config.n_codebooks,
        f"{ENCODING}.frame_rate": config.frame_rate,
    }
    keys: dict[str, tuple[str, Any]] = {}
    for key, (kind, place, default) in FIELDS.items():
        value = derived.get(place, _look_up(config.raw, place, default))
        keys[f"{ARCHITECTURE}.{key}"] = (kind, KINDS[kind](value))
    text = json.dumps(config.raw, separators=(",", ":"))  # the order of voices counts
    if config.numbers:
        keys[NUMBERS] = ("string", config.numbers)
    return keys | {PARAMS: ("string", text)}


def read_config(metadata: Mapping[str, Any], where: str) -> ModelConfig:
    """Metadata of a file -> sizes. Raises ConfigError or CheckpointError naming the key."""
    if PARAMS not in metadata:
        return ModelConfig.from_dict(_params(metadata, where), where)
    try:
        raw = json.loads(str(metadata[PARAMS]))
    except (ValueError, RecursionError):
        raise CheckpointError(f"{where}: its {PARAMS} is not JSON; write it again") from None
    config = ModelConfig.from_dict(raw, where)
    said = {NUMBERS: ("string", None)} | model_metadata(config)
    for key, (kind, value) in said.items():
        stored = metadata.get(key, value)
        if kind == "f32":
            value = float(np.float32(value))
        if key != PARAMS and stored != value:
            raise CheckpointError(
                f"{where}: {key} is {stored!r}, but {PARAMS} says {value!r}; write it again"
            )
    return config


def _params(metadata: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What params.json must have said."""
    raw: dict[str, Any] = {}
    for place, value in CONSTANT.items():
        _put(raw, place, value)
    for key, (kind, place, default) in FIELDS.items():
        value = metadata.get(f"{ARCHITECTURE}.{key}", default)
        if value is None:
            raise CheckpointError(
                f"{where}: the key {ARCHITECTURE}.{key} is missing; write it again"
            )
        if kind == "f32" and isinstance(value, float):
            value = float(str(np.float32(value)))  # 1e-05, not 9.999999747378752e-06
        _put(raw, place, value)
        if key in SAME:
            _put(raw, f"{CODEC}.{key}", value)
    if NUMBERS in metadata:
        raw["numbers"] = metadata[NUMBERS]
    names = metadata.get(VOICE_NAMES, [])
    if isinstance(names, list):
        _put(raw, f"{CODEC}.voice", {str(name): number for number, name in enumerate(names)})
    return raw


def _look_up(raw: Any, place: str, default: Any) -> Any:
    for key in place.split("."):
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return default if raw is None else raw


def _put(raw: dict[str, Any], place: str, value: Any) -> None:
    *sections, key = place.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
    raw[key] = value
