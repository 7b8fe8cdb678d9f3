"""Which tensors a GGUF file holds, and which of the checkpoint's each one is made of.

The names are those that CrispASR's ggml engine loads. The codec encoder, which no engine knows, goes
along under names of the same kind (`codec.enc.*`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flowvox.config import CodecStage, ModelConfig
from flowvox.tensors import (
    CODE_EMBEDDINGS,
    CODEC,
    FLOW,
    TOKEN_EMBEDDINGS,
    WEIGHT_NORM_DIRECTION,
    WEIGHT_NORM_GAIN,
    Shape,
    checkpoint_tensors,
)

VOICE = "voice."
VOCABULARY = "tokenizer.tekken.vocab_tensor"
LONGEST_NAME = 63  # bytes; ggml keeps names in 64 with a final zero
USAGE = f"{CODEC}quantizer.semantic_codebook.cluster_usage"
SUM = f"{CODEC}quantizer.semantic_codebook.embedding_sum"
FIXED = {
    TOKEN_EMBEDDINGS: "token_embd.weight",
    CODE_EMBEDDINGS: "audio_embd.weight",
    "norm.weight": "output_norm.weight",
    f"{FLOW}input_projection.weight": "fm.input_proj.weight",
    f"{FLOW}llm_projection.weight": "fm.llm_proj.weight",
    f"{FLOW}time_projection.weight": "fm.time_proj.weight",
    f"{FLOW}acoustic_codebook_output.weight": "fm.acoustic_output.weight",
    f"{FLOW}semantic_codebook_output.weight": "fm.semantic_output.weight",
    f"{FLOW}norm.weight": "fm.norm.weight",
    f"{CODEC}output_proj.{WEIGHT_NORM_DIRECTION}": "codec.output.weight",
    f"{CODEC}input_proj.{WEIGHT_NORM_DIRECTION}": "codec.enc.input.weight",
    SUM: "codec.semantic_cb.weight",
}
PARTS = {
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "attention.q_norm": "q_norm",
    "attention.k_norm": "k_norm",
    "attention_norm": "attn_norm",
    "attention_scale": "attn_scale",
    "ffn_norm": "ffn_norm",
    "ffn_scale": "ffn_scale",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}
_LAYER = re.compile(rf"({re.escape(FLOW)}|)layers\.(\d+)\.(.+)\.weight")
_BLOCK = re.compile(rf"{re.escape(CODEC)}(de|en)coder_blocks\.(\d+)\.(.+)")
_BLOCK_LAYER = re.compile(r"layers\.(\d+)\.(.+?)(\.weight)?")


@dataclass(frozen=True)
class Entry:
    """One tensor of the file.

    name: in the file; tensor: of the checkpoint, with the same shape; beside: the checkpoint's tensor
    that is folded into it: the gain of a weight-normed convolution, or the usage counts by which the
    sums of the semantic codebook are divided.
    """

    name: str
    tensor: str
    shape: Shape
    beside: str | None = None

    @property
    def is_convolution(self) -> bool:
        return len(self.shape) == 3


def entries(config: ModelConfig, *, encoder: bool) -> list[Entry]:
    """Everything but voices and vocabulary, in the order of the checkpoint."""
    found = []
    for tensor, shape in checkpoint_tensors(config, encoder=encoder).items():
        if tensor.endswith(WEIGHT_NORM_GAIN) or tensor == USAGE:
            continue
        beside = USAGE if tensor == SUM else None
        if tensor.endswith(WEIGHT_NORM_DIRECTION):
            beside = tensor.removesuffix(WEIGHT_NORM_DIRECTION) + WEIGHT_NORM_GAIN
        found.append(Entry(_name(tensor, config), tensor, shape, beside))
    return found


def _name(tensor: str, config: ModelConfig) -> str:
    if tensor in FIXED:
        return FIXED[tensor]
    if match := _LAYER.fullmatch(tensor):
        part, number, name = match.groups()
        return f"{'fm.' if part else ''}blk.{number}.{PARTS[name]}.weight"
    match = _BLOCK.fullmatch(tensor)
    assert match, tensor
    kind, block, rest = match.groups()
    stages = config.codec.decoder_stages if kind == "de" else config.codec.encoder_stages
    prefix = "codec.dec" if kind == "de" else "codec.enc"
    stage = _stage(stages, int(block))
    if rest == WEIGHT_NORM_DIRECTION:
        return f"{prefix}.conv.{stage}.weight"
    layer = _BLOCK_LAYER.fullmatch(rest)
    assert layer, tensor
    number, part, suffix = layer.groups()
    name = PARTS[part].replace("attn_output", "attn_o")
    return f"{prefix}.tfm.{stage}.blk.{number}.{name}{suffix or ''}"


def _stage(stages: tuple[CodecStage, ...], block: int) -> int:
    """The number of the stage that a block belongs to."""
    return next(
        number
        for number, stage in enumerate(stages)
        if block in {stage.conv_block, stage.transformer_block}
    )
