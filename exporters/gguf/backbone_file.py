"""The backbone alone as a `llama` GGUF file: llama.cpp and what is built on it run it.

Embeddings in (prompt rows, or sums of code embeddings), final hidden states out. There is no text to
complete: the vocabulary is "none", and the token table only fills the place that llama.cpp expects. The
rows of wq and wk stay as they are: `llama` rotates neighbouring pairs, as the checkpoint does.
"""

from __future__ import annotations

from pathlib import Path

from flowvox.config import BackboneConfig
from flowvox.errors import RecipeError
from flowvox.exporters.gguf.file_writer import Metadata, Report, write_file
from flowvox.exporters.gguf.plan import plan
from flowvox.exporters.gguf.writer import Components, components, general_metadata, model_weights
from flowvox.graphs import BACKBONE
from flowvox.quantizers.folding.preparation import Statistics
from flowvox.recipe import Recipe
from flowvox.source import ModelSource

ARCHITECTURE = "llama"
PARTS = (BACKBONE, "token_embeddings")


def export_backbone(
    source: ModelSource,
    recipe: Recipe,
    out: Path,
    *,
    overwrite: bool = False,
    report: Report = lambda done, total: None,
    statistics: Statistics | None = None,
) -> Components:
    """As `export_gguf`. Raises RecipeError for a rotation, too: embeddings come from elsewhere."""
    if recipe.rotation != "none":
        raise RecipeError(
            f"recipe {recipe.name} rotates the model, but embeddings and states of a backbone alone "
            "are other people's; remove rotation"
        )
    planned = [
        tensor for tensor in plan(source.config, recipe, encoder=False) if tensor.component in PARTS
    ]
    metadata = general_metadata(source, recipe, planned) | llama_metadata(source.config.backbone)
    weights = model_weights(source, planned, statistics)
    write_file(out, ARCHITECTURE, metadata, weights, overwrite=overwrite, report=report)
    return components(planned)


def llama_metadata(config: BackboneConfig) -> Metadata:
    """The keys of architecture `llama`."""
    return {
        "llama.vocab_size": ("u32", config.vocab_size),
        "llama.context_length": ("u32", config.max_positions),
        "llama.embedding_length": ("u32", config.dim),
        "llama.block_count": ("u32", config.n_layers),
        "llama.feed_forward_length": ("u32", config.hidden_dim),
        "llama.attention.head_count": ("u32", config.n_heads),
        "llama.attention.head_count_kv": ("u32", config.n_kv_heads),
        "llama.attention.key_length": ("u32", config.head_dim),
        "llama.attention.value_length": ("u32", config.head_dim),
        "llama.attention.layer_norm_rms_epsilon": ("f32", config.norm_eps),
        "llama.rope.dimension_count": ("u32", config.head_dim),
        "llama.rope.freq_base": ("f32", config.rope_theta),
        "tokenizer.ggml.model": ("string", "none"),
    }
