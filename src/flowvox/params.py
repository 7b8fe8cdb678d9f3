"""Parsing of params.json into `ModelConfig`, with an error that names the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from flowvox.config import (
    FLOW_NORM_EPS,
    MODEL_TYPE,
    BackboneConfig,
    CodecConfig,
    FlowConfig,
    ModelConfig,
)
from flowvox.errors import ConfigError

MAX_SIZE = 1 << 24  # no size of a real model is larger; guards arithmetic and allocations
# vLLM-Omni's defaults for the encoder, whose keys the published params.json lacks.
ENCODER_DEFAULTS = {
    "encoder_transformer_lengths_str": "2,2,2,2",
    "encoder_convs_kernels_str": "4,4,4,3",
    "encoder_convs_strides_str": "2,2,2,1",
}


class _Section:
    """One JSON object of params.json with typed, checked access."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, Mapping):
            raise ConfigError(f"{where}: should be a JSON object; is this a params.json?")
        self.data, self.where = data, where

    def section(self, key: str) -> _Section:
        return _Section(self._get(key), f"{self.where}: {key}")

    def _get(self, key: str, default: Any = None) -> Any:
        value = self.data.get(key, default)
        if value is None:
            raise ConfigError(f"{self.where}: key '{key}' is missing")
        return value

    def size(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_SIZE:
            raise ConfigError(
                f"{self.where}: '{key}' should be a whole number from 1 to {MAX_SIZE}, "
                f"not {value!r}"
            )
        return value

    def index(self, key: str, default: int) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SIZE:
            raise ConfigError(f"{self.where}: '{key}' should be a token id, not {value!r}")
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise ConfigError(f"{self.where}: '{key}' should be a positive number, not {value!r}")
        return float(value)

    def must_be(self, key: str, expected: Any) -> None:
        value = self.data.get(key, expected)
        if value != expected:
            raise ConfigError(
                f"{self.where}: '{key}' is {value!r}, but flowvox only knows models where it is "
                f"{expected!r}"
            )

    def sizes(self, key: str, default: str | None = None) -> tuple[int, ...]:
        """A comma-separated list such as "2,2,2,2"."""
        value = self._get(key, default)
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if not numbers or len(numbers) > 16 or any(not 0 < n <= 1024 for n in numbers):
            raise ConfigError(f"{self.where}: '{key}' should look like \"2,2,2,2\", not {value!r}")
        return numbers


def parse_params(raw: Any, where: str) -> ModelConfig:
    """Convert the parsed params.json. Raises ConfigError with the file and key named."""
    top = _Section(raw, where)
    model_type = top.data.get("model_type")
    if model_type != MODEL_TYPE:
        raise ConfigError(
            f"{where}: model_type is {model_type!r}, not '{MODEL_TYPE}'; this is not a Voxtral TTS "
            "checkpoint (the speech-recognition siblings use the same file names)"
        )
    top.must_be("use_biases", False)
    top.must_be("causal", True)
    multimodal = top.section("multimodal")
    audio = multimodal.section("audio_model_args")
    acoustic = audio.section("acoustic_transformer_args")
    tokenizer = multimodal.section("audio_tokenizer_args")
    acoustic.must_be("use_biases", False)
    audio.must_be("input_embedding_concat_type", "sum")

    backbone = BackboneConfig(
        **_transformer(top),
        norm_eps=top.positive("norm_eps"),
        rope_theta=top.positive("rope_theta"),
        vocab_size=top.size("vocab_size"),
        max_positions=top.size("max_seq_len", 65536),
    )
    flow = FlowConfig(
        **_transformer(acoustic), norm_eps=FLOW_NORM_EPS, input_dim=acoustic.size("input_dim")
    )
    codec = _codec(tokenizer)
    _agree(where, "acoustic_transformer_args.input_dim", flow.input_dim, backbone.dim)
    _agree(where, "n_acoustic_codebook", audio.size("n_acoustic_codebook"), codec.acoustic_dim)
    for key in ("semantic_codebook_size", "acoustic_codebook_size"):
        _agree(where, f"audio_model_args.{key}", audio.size(key), tokenizer.size(key))
    if flow.dim % 2:
        raise ConfigError(f"{where}: acoustic_transformer_args.dim should be even")
    voices = tokenizer.data.get("voice", {})
    if not isinstance(voices, Mapping):
        raise ConfigError(f"{where}: audio_tokenizer_args.voice should map names to numbers")
    return ModelConfig(
        backbone=backbone,
        flow=flow,
        codec=codec,
        voices=tuple(str(name) for name in voices),
        bos_id=multimodal.index("bos_token_id", 1),
        audio_id=audio.index("audio_token_id", 24),
        begin_audio_id=audio.index("begin_audio_token_id", 25),
        tied_embeddings=bool(top.data.get("tied_embeddings", True)),
        numbers=_numbers(top),
        raw=top.data,
    )


def _numbers(top: _Section) -> Literal["words"] | None:
    if "numbers" not in top.data:
        return None
    top.must_be("numbers", "words")
    return "words"


def _transformer(section: _Section) -> dict[str, Any]:
    keys = ("dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads")
    sizes = {key: section.size(key) for key in keys}
    if sizes["n_heads"] % sizes["n_kv_heads"]:
        raise ConfigError(f"{section.where}: n_heads should be a multiple of n_kv_heads")
    if sizes["head_dim"] % 2:
        raise ConfigError(f"{section.where}: head_dim should be even (rotary pairs)")
    return sizes


def _codec(section: _Section) -> CodecConfig:
    for key, expected in (("channels", 1), ("causal", True), ("use_biases", False)):
        section.must_be(key, expected)
    for key in ("conv_weight_norm", "half_attn_window_upon_downsampling", "qk_norm", "layer_scale"):
        section.must_be(key, True)
    codec = CodecConfig(
        sampling_rate=section.size("sampling_rate"),
        patch_size=section.size("pretransform_patch_size"),
        patch_kernel=section.size("patch_proj_kernel_size"),
        semantic_codebook_size=section.size("semantic_codebook_size"),
        semantic_dim=section.size("semantic_dim"),
        acoustic_codebook_size=section.size("acoustic_codebook_size"),
        acoustic_dim=section.size("acoustic_dim"),
        dim=section.size("dim"),
        hidden_dim=section.size("hidden_dim"),
        head_dim=section.size("head_dim"),
        n_heads=section.size("n_heads"),
        n_kv_heads=section.size("n_kv_heads"),
        norm_eps=section.positive("norm_eps"),
        qk_norm_eps=section.positive("qk_norm_eps"),
        qk_norm=True,
        layer_scale=True,
        window=section.size("attn_sliding_window_size"),
        decoder_lengths=section.sizes("decoder_transformer_lengths_str"),
        decoder_kernels=section.sizes("decoder_convs_kernels_str"),
        decoder_strides=section.sizes("decoder_convs_strides_str"),
        **{
            key.removesuffix("_str")
            .replace("transformer_", "")
            .replace("convs_", ""): section.sizes(key, default)
            for key, default in ENCODER_DEFAULTS.items()
        },
    )
    where = section.where
    if codec.acoustic_codebook_size < 2:
        raise ConfigError(f"{where}: acoustic_codebook_size should be at least 2")
    if codec.n_heads != codec.n_kv_heads:
        raise ConfigError(f"{where}: n_heads and n_kv_heads should be equal")
    for part in ("decoder", "encoder"):
        counts = {len(getattr(codec, f"{part}_{k}")) for k in ("lengths", "kernels", "strides")}
        if len(counts) != 1:
            raise ConfigError(
                f"{where}: {part} lengths, kernels and strides differ in number of stages"
            )
        kernels, strides = getattr(codec, f"{part}_kernels"), getattr(codec, f"{part}_strides")
        if any(k < s for k, s in zip(kernels, strides, strict=True)):
            raise ConfigError(f"{where}: a {part} kernel is smaller than its stride")
        if math.prod(strides) > codec.window:
            raise ConfigError(f"{where}: attn_sliding_window_size is too small for the strides")
    if codec.decoder_strides[0] != 1:
        raise ConfigError(f"{where}: the first decoder stage should have stride 1")
    if math.prod(codec.decoder_strides) != math.prod(codec.encoder_strides):
        raise ConfigError(f"{where}: encoder and decoder strides have different products")
    if codec.upsampling < codec.patch_kernel:
        raise ConfigError(
            f"{where}: a frame of {codec.upsampling} steps is shorter than the output kernel of "
            f"{codec.patch_kernel}; flowvox needs at least as many"
        )
    return codec


def _agree(where: str, key: str, value: int, expected: int) -> None:
    if value != expected:
        raise ConfigError(f"{where}: '{key}' is {value}, but the rest of the file says {expected}")
