"""Stage `pack`: moving averages of the trainings -> a checkpoint in the published layout."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowvox.config import END_VALUE, SPECIAL_CODES, ModelConfig
from flowvox.files import write_beside
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.safetensors_file import header_bytes
from flowvox.reference.training.bpe import write_tekken
from flowvox.reference.training.codec import SEMANTIC_SCALE
from flowvox.reference.training.codes import CodeSpace
from flowvox.reference.training.corpus import VOICES
from flowvox.reference.training.dataset import Dataset
from flowvox.reference.training.script import script_utterances
from flowvox.reference.training.text import text_hash
from flowvox.tensors import CODE_EMBEDDINGS, CODEC, FLOW, checkpoint_tensors
from flowvox.voices import to_bfloat16, write_voice_pt

VOICE_FRAMES = 14
VOICE_SEED = 0
DECODER = {"blocks": "decoder_blocks", "output": "output_proj"}
CODEC_PARTS = {
    "decoder": DECODER,
    "refine": DECODER,  # after `decoder`: it replaces it
    "encoder": {"input": "input_proj", "blocks": "encoder_blocks"},
}


def codec_tensors(work: Path, start: Path | None) -> dict[str, Tensor]:
    """The codec under its checkpoint names; parts not trained in `work` come from `start`."""
    tensors: dict[str, Tensor] = {}
    if start:
        checkpoint = Checkpoint.open(start)
        names = [name for name in checkpoint.shapes if name.startswith(CODEC)]
        tensors |= {name: torch.from_numpy(checkpoint.read(name)) for name in names}
    for stage, renames in CODEC_PARTS.items():
        if (work / stage / "latest.pt").exists():
            for name, value in _average(work, stage).items():
                part, rest = name.split(".", 1)
                if part in renames:
                    tensors[f"{CODEC}{renames[part]}.{rest}"] = value
    centroids = torch.from_numpy(CodeSpace.load(work / "codes.npz").centroids) * SEMANTIC_SCALE
    codebook = f"{CODEC}quantizer.semantic_codebook."
    tensors[f"{codebook}embedding_sum"] = centroids
    tensors[f"{codebook}cluster_usage"] = torch.ones(len(centroids))
    return tensors


def trained_tensors(work: Path, start: Path | None) -> dict[str, Tensor]:
    """Every tensor under its checkpoint name."""
    tensors = codec_tensors(work, start)
    for name, value in _average(work, "lm").items():
        part, rest = name.split(".", 1)
        if part in {"backbone", "flow"}:
            tensors[{"backbone": "", "flow": FLOW}[part] + rest] = value
    return tensors


def _average(work: Path, stage: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(work / stage / "latest.pt", weights_only=True)["average"]
    return state


def pack(work: Path, out: Path, start: Path | None) -> None:
    """Write params.json, consolidated.safetensors, tekken.json, the voices, script and hashes."""
    config = ModelConfig.load(work / "params.json")
    tensors = trained_tensors(work, start)
    encoder = f"{CODEC}input_proj.conv.parametrizations.weight.original0" in tensors
    shapes = checkpoint_tensors(config, encoder=encoder)
    content = [header_bytes(shapes)]
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name}: trained {tuple(tensors[name].shape)}, should be {shape}")
        content.append(to_bfloat16(tensors[name].numpy()).astype("<u2").tobytes())
    (out / "voice_embedding").mkdir(parents=True, exist_ok=True)
    write_beside(out / "params.json", (work / "params.json").read_bytes())
    write_beside(out / "consolidated.safetensors", b"".join(content))
    data = Dataset.load(work)
    table = tensors[CODE_EMBEDDINGS].to(torch.bfloat16).float().numpy()
    rows = {name: voice_rows(data, config, table, i) for i, name in enumerate(VOICES)}
    for name, voice in rows.items():
        write_voice_pt(out / "voice_embedding" / f"{name}.pt", voice)
    vocabulary = [bytes.fromhex(str(t)) for t in np.load(work / "dataset/small.npz")["vocabulary"]]
    script = [data.texts[i] for voice in range(len(VOICES)) for i in script_utterances(data, voice)]
    write_beside(out / "script.txt", ("\n".join(dict.fromkeys(script)) + "\n").encode())
    trained = {text_hash(t) for t, held in zip(data.texts, data.held_out, strict=True) if not held}
    write_beside(out / "training-text-hashes.txt", ("\n".join(sorted(trained)) + "\n").encode())
    write_tekken(out / "tekken.json", vocabulary, {name: len(v) for name, v in rows.items()})


def voice_rows(
    data: Dataset, config: ModelConfig, table: NDArray[np.float32], voice: int
) -> NDArray[np.float32]:
    """Rows [VOICE_FRAMES + 1, dim] of a stretch of a training utterance and one END frame."""
    lengths = np.diff(data.starts)
    long = np.flatnonzero((data.voice == voice) & ~data.held_out & (lengths > 3 * VOICE_FRAMES))
    first = data.starts[long[VOICE_SEED]] + VOICE_FRAMES
    span = slice(first, first + VOICE_FRAMES)
    codes = np.concatenate([data.semantic[span, None], data.codes[span]], axis=1)
    values = np.zeros((VOICE_FRAMES + 1, config.n_codebooks), dtype=np.int64)
    values[:-1] = codes.astype(np.int64) + SPECIAL_CODES
    values[-1, 0] = END_VALUE
    rows: NDArray[np.float32] = table[values + np.array(config.code_offsets)].sum(axis=1)
    return rows


def fingerprint(out: Path) -> dict[str, Any]:
    """sha256 and size of the weights, for the model card."""
    content = (out / "consolidated.safetensors").read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_scores(path: Path, scores: dict[str, Any]) -> None:
    """scores.json beside the weights."""
    write_beside(path, (json.dumps(scores, indent=1) + "\n").encode())
