"""Names and shapes of every tensor of a checkpoint, derived from params.json.

The published Voxtral-4B-TTS-2603 has exactly these 386 tensors (codec encoder absent).
Linear weights are [out, in]; convolutions [out, in, k]; transposed convolutions [in, out, k].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flowvox.config import CodecConfig, CodecStage, ModelConfig, TransformerConfig

Shape = tuple[int, ...]

TOKEN_EMBEDDINGS = "mm_audio_embeddings.tok_embeddings.weight"
CODE_EMBEDDINGS = "mm_audio_embeddings.audio_codebook_embeddings.embeddings.weight"
OUTPUT_HEAD = "output.weight"  # only where embeddings are not tied; TTS never evaluates it
FLOW = "acoustic_transformer."
CODEC = "audio_tokenizer."
ENCODER_PREFIXES = (f"{CODEC}input_proj.", f"{CODEC}encoder_blocks.")
WEIGHT_NORM_GAIN = "conv.parametrizations.weight.original0"
WEIGHT_NORM_DIRECTION = "conv.parametrizations.weight.original1"


class WeightSource(Protocol):
    """A checkpoint as the exporters see it: names, shapes, and one tensor at a time.

    `shapes` lists every tensor without reading it; `read` returns a fresh float32 array (converted
    from the stored dtype) and never keeps it. Implemented by `flowvox.reference.checkpoint`.
    """

    @property
    def shapes(self) -> dict[str, Shape]: ...

    def read(self, name: str) -> NDArray[np.float32]: ...


def backbone_tensors(config: ModelConfig) -> dict[str, Shape]:
    """Embedding tables, decoder layers and the final norm."""
    dim = config.backbone.dim
    tensors: dict[str, Shape] = {
        TOKEN_EMBEDDINGS: (config.backbone.vocab_size, dim),
        CODE_EMBEDDINGS: (config.code_table_rows_padded, dim),
    }
    tensors.update(_layers("", config.backbone))
    tensors["norm.weight"] = (dim,)
    return tensors


def flow_tensors(config: ModelConfig) -> dict[str, Shape]:
    """The flow-matching transformer with its projections and two output heads."""
    flow, n = config.flow, config.codec.acoustic_dim
    tensors: dict[str, Shape] = {
        f"{FLOW}input_projection.weight": (flow.dim, n),
        f"{FLOW}time_projection.weight": (flow.dim, flow.dim),
        f"{FLOW}llm_projection.weight": (flow.dim, flow.input_dim),
    }
    tensors.update(_layers(FLOW, flow))
    tensors[f"{FLOW}norm.weight"] = (flow.dim,)
    heads = (config.semantic_rows_padded, flow.input_dim)
    tensors[f"{FLOW}semantic_codebook_output.weight"] = heads
    tensors[f"{FLOW}acoustic_codebook_output.weight"] = (n, flow.dim)
    return tensors


def decoder_tensors(config: ModelConfig) -> dict[str, Shape]:
    """The codec decoder and the semantic codebook's statistics."""
    codec = config.codec
    tensors: dict[str, Shape] = {}
    channels = codec.latent_dim
    for stage in codec.decoder_stages:
        if stage.conv_block is not None:
            transposed = stage.stride > 1
            shape = (
                (channels, codec.dim, stage.kernel)
                if transposed
                else (codec.dim, channels, stage.kernel)
            )
            tensors.update(_weight_norm(f"{CODEC}decoder_blocks.{stage.conv_block}.", shape))
            channels = codec.dim
        tensors.update(_codec_stage(f"{CODEC}decoder_blocks", stage, codec))
    output = (codec.patch_size, codec.dim, codec.patch_kernel)
    tensors.update(_weight_norm(f"{CODEC}output_proj.", output))
    codebook = f"{CODEC}quantizer.semantic_codebook."
    tensors[f"{codebook}cluster_usage"] = (codec.semantic_codebook_size,)
    tensors[f"{codebook}embedding_sum"] = (codec.semantic_codebook_size, codec.semantic_dim)
    return tensors


def encoder_tensors(config: ModelConfig) -> dict[str, Shape]:
    """The codec encoder, absent from the published checkpoint (format section C)."""
    codec = config.codec
    tensors = _weight_norm(f"{CODEC}input_proj.", (codec.dim, codec.patch_size, codec.patch_kernel))
    last = codec.encoder_stages[-1]
    for stage in codec.encoder_stages:
        tensors.update(_codec_stage(f"{CODEC}encoder_blocks", stage, codec))
        if stage.conv_block is not None:
            out = codec.latent_dim if stage is last else codec.dim
            prefix = f"{CODEC}encoder_blocks.{stage.conv_block}."
            tensors.update(_weight_norm(prefix, (out, codec.dim, stage.kernel)))
    return tensors


def checkpoint_tensors(config: ModelConfig, *, encoder: bool) -> dict[str, Shape]:
    """All tensors of a checkpoint, in file order."""
    tensors = backbone_tensors(config) | flow_tensors(config) | decoder_tensors(config)
    return tensors | encoder_tensors(config) if encoder else tensors


def has_encoder(names: Iterator[str] | set[str] | dict[str, Shape]) -> bool:
    """Whether the tensor names include a codec encoder."""
    return any(name.startswith(ENCODER_PREFIXES) for name in names)


def fold_weight_norm(
    gain: NDArray[np.float32], direction: NDArray[np.float32]
) -> NDArray[np.float32]:
    """w = g * v / ||v||, the norm over all dims but the first (torch weight_norm, dim=0).

    gain: [d0, 1, 1]; direction: [d0, d1, k]. Returns float32 [d0, d1, k].
    """
    wide = direction.astype(np.float64)
    norm = np.sqrt((wide * wide).sum(axis=(1, 2), keepdims=True))
    folded: NDArray[np.float32] = (gain.astype(np.float64) * wide / norm).astype(np.float32)
    return folded


def _layers(prefix: str, config: TransformerConfig) -> dict[str, Shape]:
    tensors: dict[str, Shape] = {}
    for i in range(config.n_layers):
        layer = f"{prefix}layers.{i}."
        tensors |= {
            f"{layer}attention.wq.weight": (config.q_dim, config.dim),
            f"{layer}attention.wk.weight": (config.kv_dim, config.dim),
            f"{layer}attention.wv.weight": (config.kv_dim, config.dim),
            f"{layer}attention.wo.weight": (config.dim, config.q_dim),
            f"{layer}attention_norm.weight": (config.dim,),
            f"{layer}feed_forward.w1.weight": (config.hidden_dim, config.dim),
            f"{layer}feed_forward.w2.weight": (config.dim, config.hidden_dim),
            f"{layer}feed_forward.w3.weight": (config.hidden_dim, config.dim),
            f"{layer}ffn_norm.weight": (config.dim,),
        }
    return tensors


def _codec_stage(prefix: str, stage: CodecStage, codec: CodecConfig) -> dict[str, Shape]:
    inner = codec.n_heads * codec.head_dim
    tensors: dict[str, Shape] = {}
    for i in range(stage.n_layers):
        layer = f"{prefix}.{stage.transformer_block}.layers.{i}."
        tensors |= {
            f"{layer}attention.wq.weight": (inner, codec.dim),
            f"{layer}attention.wk.weight": (inner, codec.dim),
            f"{layer}attention.wv.weight": (inner, codec.dim),
            f"{layer}attention.wo.weight": (codec.dim, inner),
            f"{layer}attention.q_norm.weight": (inner,),
            f"{layer}attention.k_norm.weight": (inner,),
            f"{layer}attention_norm.weight": (codec.dim,),
            f"{layer}ffn_norm.weight": (codec.dim,),
            f"{layer}feed_forward.w1.weight": (codec.hidden_dim, codec.dim),
            f"{layer}feed_forward.w2.weight": (codec.dim, codec.hidden_dim),
            f"{layer}feed_forward.w3.weight": (codec.hidden_dim, codec.dim),
            f"{layer}attention_scale": (codec.dim,),
            f"{layer}ffn_scale": (codec.dim,),
        }
    return tensors


def _weight_norm(prefix: str, shape: Shape) -> dict[str, Shape]:
    gain = (shape[0],) + (1,) * (len(shape) - 1)
    return {f"{prefix}{WEIGHT_NORM_GAIN}": gain, f"{prefix}{WEIGHT_NORM_DIRECTION}": shape}


def component_of(name: str) -> str | None:
    """The bundle's component that a tensor ends up in; None for the text head."""
    if name == OUTPUT_HEAD:
        return None
    if name == TOKEN_EMBEDDINGS:
        return "token_embeddings"
    if name == CODE_EMBEDDINGS:
        return "code_embeddings"
    if name.startswith(FLOW):
        return "flow"
    if name.startswith(ENCODER_PREFIXES):
        return "codec_encoder"
    return "codec_decoder" if name.startswith(CODEC) else "backbone"
