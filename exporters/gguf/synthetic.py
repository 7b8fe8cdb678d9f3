"""A `llama` GGUF file of a backbone's shape with made-up weights, only to be timed.

Blocks are noise with ordinary scales, repeated: gigabytes are written in seconds, and nothing is
quantized. The token table, which embeddings from outside never touch, is cut to a few rows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from flowvox.config import ModelConfig
from flowvox.exporters.gguf.backbone_file import ARCHITECTURE, llama_metadata
from flowvox.exporters.gguf.file_writer import Weight, write_file
from flowvox.exporters.gguf.names import entries
from flowvox.exporters.gguf.plan import stored_format
from flowvox.graphs import BACKBONE
from flowvox.quantizers.ggml.formats import FORMATS, Bytes
from flowvox.tensors import TOKEN_EMBEDDINGS, Shape, component_of

VOCABULARY, CHUNK = 32, 1 << 20


def write_synthetic_backbone(config: ModelConfig, asked: str, out: Path) -> None:
    """Write `out` with the matrices in the ggml blocks `asked`, where rows can hold them."""
    backbone = replace(config.backbone, vocab_size=VOCABULARY)
    weights = []
    for entry in entries(config, encoder=False):
        shape = entry.shape
        if entry.tensor == TOKEN_EMBEDDINGS:
            shape = (VOCABULARY, backbone.dim)
        elif component_of(entry.tensor) != BACKBONE:
            continue
        form = stored_format(entry, asked)
        weights.append(Weight(entry.name, shape, form, partial(_noise, form, shape)))
    metadata = llama_metadata(backbone)
    write_file(out, ARCHITECTURE, metadata, weights, overwrite=False, report=lambda *done: None)


def _noise(form: str, shape: Shape) -> Bytes:
    """A matrix of normal weights; ones for a vector."""
    kind = FORMATS[form]
    if len(shape) == 1:
        return np.ones(shape, dtype="<f4").view(np.uint8)
    row = shape[1] // kind.weights * kind.size
    return np.resize(_chunk(form, shape[1]), (shape[0], row))


@cache
def _chunk(form: str, inputs: int) -> Bytes:
    kind = FORMATS[form]
    values = np.random.default_rng(0).standard_normal(CHUNK, dtype=np.float32)
    values *= np.float32(inputs**-0.5)
    return kind.quantize(values.reshape(-1, kind.weights)).reshape(-1)
