"""params.json: the sizes of a Voxtral-TTS-shaped model, read once and validated.

Every size in the project comes from here; nothing is hard-coded to the published 4B model.
Key names and the values of absent keys follow the published file (Voxtral-4B-TTS-2603).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from flowvox.errors import ConfigError

MODEL_TYPE = "voxtral_tts"
SPECIAL_CODES = 2  # values 0 (EMPTY) and 1 (END) precede the real codes in every codebook
EMPTY_VALUE, END_VALUE = 0, 1
TABLE_ALIGNMENT = 128  # rows of the code table and of the semantic head are padded to this
# Absent from params.json; the values are those of vLLM-Omni.
DEFAULT_STEPS = 7
DEFAULT_GUIDANCE = 1.2
FLOW_NORM_EPS = 1e-5


def _padded(rows: int) -> int:
    return -(-rows // TABLE_ALIGNMENT) * TABLE_ALIGNMENT


@dataclass(frozen=True)
class TransformerConfig:
    """A pre-norm GQA + SwiGLU stack; backbone and flow head share this shape."""

    dim: int
    n_layers: int
    head_dim: int
    hidden_dim: int
    n_heads: int
    n_kv_heads: int
    norm_eps: float

    @property
    def q_dim(self) -> int:
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        return self.n_kv_heads * self.head_dim


@dataclass(frozen=True)
class BackboneConfig(TransformerConfig):
    """The autoregressive Mistral-style backbone."""

    rope_theta: float
    vocab_size: int
    max_positions: int


@dataclass(frozen=True)
class FlowConfig(TransformerConfig):
    """The flow-matching acoustic transformer. `input_dim` is the backbone's width."""

    input_dim: int


@dataclass(frozen=True)
class CodecStage:
    """One stage of the codec: an optional conv and the transformer at the stage's rate.

    conv_block / transformer_block: indices in `decoder_blocks` / `encoder_blocks` (None: no conv).
    window: inclusive look-back of the attention, in steps of this stage.
    """

    kernel: int
    stride: int
    n_layers: int
    window: int
    conv_block: int | None
    transformer_block: int


@dataclass(frozen=True)
class CodecConfig:
    """The neural codec: 24 kHz audio <-> 1 semantic + n acoustic codes per frame."""

    sampling_rate: int
    patch_size: int
    patch_kernel: int
    semantic_codebook_size: int
    semantic_dim: int
    acoustic_codebook_size: int
    acoustic_dim: int
    dim: int
    hidden_dim: int
    head_dim: int
    n_heads: int
    n_kv_heads: int
    norm_eps: float
    qk_norm_eps: float
    qk_norm: bool
    layer_scale: bool
    window: int
    decoder_lengths: tuple[int, ...]
    decoder_kernels: tuple[int, ...]
    decoder_strides: tuple[int, ...]
    encoder_lengths: tuple[int, ...]
    encoder_kernels: tuple[int, ...]
    encoder_strides: tuple[int, ...]

    @property
    def latent_dim(self) -> int:
        """Channels between quantizer and decoder: semantic vector + acoustic scalars."""
        return self.semantic_dim + self.acoustic_dim

    @property
    def upsampling(self) -> int:
        """Decoder steps at the highest rate per codec frame."""
        product = 1
        for stride in self.decoder_strides:
            product *= stride
        return product

    @property
    def frame_samples(self) -> int:
        """Audio samples per codec frame (1920 in the published model)."""
        return self.patch_size * self.upsampling

    @cached_property
    def decoder_stages(self) -> tuple[CodecStage, ...]:
        """Decoder stages: conv first, then transformer; the window doubles at each stride 2."""
        stages, block = [], 0
        window = self.window
        for stride in self.decoder_strides:
            window //= stride
        shapes = zip(self.decoder_kernels, self.decoder_strides, self.decoder_lengths, strict=True)
        for i, (kernel, stride, length) in enumerate(shapes):
            conv_block = None
            if i == 0 or kernel != 1 or stride != 1:
                conv_block, block = block, block + 1
            window *= stride
            stages.append(CodecStage(kernel, stride, length, window, conv_block, block))
            block += 1
        return tuple(stages)

    @cached_property
    def encoder_stages(self) -> tuple[CodecStage, ...]:
        """Encoder stages: transformer first, then conv; the window halves after each stride 2."""
        stages, block = [], 0
        window = self.window
        last = len(self.encoder_lengths) - 1
        shapes = zip(self.encoder_kernels, self.encoder_strides, self.encoder_lengths, strict=True)
        for i, (kernel, stride, length) in enumerate(shapes):
            transformer_block, block = block, block + 1
            conv_block = None
            if i == last or kernel != 1 or stride != 1:
                conv_block, block = block, block + 1
            stages.append(CodecStage(kernel, stride, length, window, conv_block, transformer_block))
            window //= stride
        return tuple(stages)


@dataclass(frozen=True)
class ModelConfig:
    """Everything params.json says, in the three parts of the model.

    numbers: "words" where the model was trained on numbers and titles in words only (a key of ours).
    """

    backbone: BackboneConfig
    flow: FlowConfig
    codec: CodecConfig
    voices: tuple[str, ...]
    bos_id: int
    audio_id: int
    begin_audio_id: int
    tied_embeddings: bool
    numbers: Literal["words"] | None
    raw: Mapping[str, Any]

    @property
    def n_codebooks(self) -> int:
        return 1 + self.codec.acoustic_dim

    @property
    def semantic_rows(self) -> int:
        """Values of codebook 0: EMPTY, END and the semantic codes."""
        return self.codec.semantic_codebook_size + SPECIAL_CODES

    @property
    def semantic_rows_padded(self) -> int:
        return _padded(self.semantic_rows)

    @property
    def acoustic_rows(self) -> int:
        return self.codec.acoustic_codebook_size + SPECIAL_CODES

    @property
    def code_table_rows_padded(self) -> int:
        return _padded(self.semantic_rows + self.codec.acoustic_dim * self.acoustic_rows)

    @property
    def code_offsets(self) -> tuple[int, ...]:
        """First row of each codebook in the code table (format B.7)."""
        first = self.semantic_rows
        rest = (first + k * self.acoustic_rows for k in range(self.codec.acoustic_dim))
        return (0, *rest)

    @property
    def frame_rate(self) -> float:
        """Codec frames per second (12.5 in the published model)."""
        return self.codec.sampling_rate / self.codec.frame_samples

    @classmethod
    def load(cls, path: Path) -> ModelConfig:
        """Read `path`/params.json, or the file itself. Raises ConfigError."""
        file = path / "params.json" if path.is_dir() else path
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"{file}: not found; a checkpoint folder has a params.json") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read ({error})") from None
        try:
            raw = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(f"{file}: not valid JSON ({error})") from None
        return cls.from_dict(raw, str(file))

    @classmethod
    def from_dict(cls, raw: Any, where: str = "params.json") -> ModelConfig:
        """Validate and convert the parsed JSON. Raises ConfigError, naming the key."""
        from flowvox.params import parse_params

        return parse_params(raw, where)
