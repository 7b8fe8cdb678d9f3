"""Stage `pack`: what `export` left -> a checkpoint in the published layout."""

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
from flowvox.reference.safetensors_file import header_bytes
from flowvox.reference.training.bpe import write_tekken
from flowvox.reference.training.corpus import read_vocabulary
from flowvox.reference.training.text import is_held_out, text_hash
from flowvox.tensors import CODE_EMBEDDINGS, CODEC, FLOW, checkpoint_tensors
from flowvox.voices import to_bfloat16, write_voice_pt

HASHES = "training-text-hashes.txt"
VOICE_FRAMES = 14
VOICE_BEGIN = 14  # frames into the first candidate of each voice


def trained_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor under its checkpoint name."""
    tensors: dict[str, Tensor] = {}
    for name, prefix in {"backbone": "", "flow": FLOW, "codec": CODEC}.items():
        state = torch.load(folder / f"{name}.pt", weights_only=True)
        own = f"{name}." if name != "codec" else ""
        tensors |= {prefix + key.removeprefix(own): value.float() for key, value in state.items()}
    return tensors


def pack(work: Path, out: Path) -> None:
    """Write params.json, consolidated.safetensors, tekken.json, the voices and the text's hashes."""
    config, folder = ModelConfig.load(work / "params.json"), work / "export"
    tensors = trained_tensors(folder)
    shapes = checkpoint_tensors(config, encoder=True)
    content = [header_bytes(shapes)]
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name}: trained {tuple(tensors[name].shape)}, should be {shape}")
        content.append(to_bfloat16(tensors[name].numpy()).astype("<u2").tobytes())
    (out / "voice_embedding").mkdir(parents=True, exist_ok=True)
    for stale in (out / "voice_embedding").glob("*.pt"):
        stale.unlink()
    write_beside(out / "params.json", (work / "params.json").read_bytes())
    write_beside(out / "consolidated.safetensors", b"".join(content))
    table = tensors[CODE_EMBEDDINGS].to(torch.bfloat16).float().numpy()
    spoken = np.load(folder / "spoken.npz")
    names = [str(name) for name in spoken["voices"]]
    rows = voices(folder / "prompts.npz", names, config, table)
    for name, voice in rows.items():
        write_voice_pt(out / "voice_embedding" / f"{name}.pt", voice)
    write_tekken(
        out / "tekken.json", read_vocabulary(work), {name: len(v) for name, v in rows.items()}
    )
    texts = json.loads((work / "texts.json").read_text("utf-8"))
    said = [texts[i] for i in spoken["sentence"]]
    hashes = {text_hash(text) for text in said if not is_held_out(text)}
    if (folder / HASHES).exists():
        hashes |= set((folder / HASHES).read_text("ascii").split())
    write_beside(out / HASHES, ("\n".join(sorted(hashes)) + "\n").encode())


def voices(
    file: Path, names: list[str], config: ModelConfig, table: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Name -> rows [VOICE_FRAMES + 1, dim]: a stretch of a training utterance and one END frame."""
    made = {}
    with np.load(file) as candidates:
        lengths, codes = candidates["lengths"], candidates["codes"]
        first = np.cumsum(lengths) - lengths
        for index, name in enumerate(names):
            utterance = np.flatnonzero(candidates["speaker"] == index)[0]
            begin = first[utterance] + VOICE_BEGIN
            made[name] = voice_rows(codes[begin : begin + VOICE_FRAMES], config, table)
    return made


def voice_rows(
    codes: NDArray[np.integer], config: ModelConfig, table: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Codes [F, 37] of speech, without the +2 -> rows [F + 1, dim] of a voice prompt."""
    values = np.zeros((len(codes) + 1, config.n_codebooks), dtype=np.int64)
    values[:-1] = codes.astype(np.int64) + SPECIAL_CODES
    values[-1, 0] = END_VALUE
    rows: NDArray[np.float32] = table[values + np.array(config.code_offsets)].sum(axis=1)
    return rows


def fingerprint(out: Path) -> dict[str, Any]:
    """sha256 and size of the weights, for the model card."""
    content = (out / "consolidated.safetensors").read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
