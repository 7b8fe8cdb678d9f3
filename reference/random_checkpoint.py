"""Random checkpoints in the published layout, at any size, streamed to disk.

The scales are those of a trained model of this kind: unit-variance activations, residual branches
that shrink with depth. Sizes, memory and speed are real; the sound is not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.config import END_VALUE, SPECIAL_CODES, ModelConfig
from flowvox.errors import ConfigError, OutputError
from flowvox.files import folder_beside
from flowvox.reference.safetensors_file import header_bytes
from flowvox.tensors import (
    CODE_EMBEDDINGS,
    CODEC,
    FLOW,
    TOKEN_EMBEDDINGS,
    Shape,
    checkpoint_tensors,
)
from flowvox.voices import check_name, to_bfloat16, write_voice_pt

CHUNK = 1 << 21  # values generated at a time
PUBLISHED_SPECIALS = {
    0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 24: "[AUDIO]",
    25: "[BEGIN_AUDIO]", 26: "[OUTPUT_AUDIO]", 34: "[TRANSCRIBE]",
    35: "[REPEAT_AUDIO_TEXT]", 36: "[NEXT_AUDIO_TEXT]",
}  # fmt: skip
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
Report = Callable[[int, int], None]


def load_shape(shape: str) -> dict[str, Any]:
    """params.json of "tiny" or "4b", or of a file. Raises ConfigError."""
    try:
        if shape in {"tiny", "4b"}:
            text = (resources.files("flowvox") / "shapes" / f"{shape}.json").read_text("utf-8")
        else:
            text = Path(shape).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError:
        raise ConfigError(
            f"{shape}: no such shape; use tiny, 4b or a file like params.json"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{shape}: not valid JSON ({error})") from None


def write_random_checkpoint(
    params: dict[str, Any], out: Path, seed: int, report: Report = lambda done, total: None
) -> ModelConfig:
    """Write params.json, weights (bf16), tekken.json, voices and a card; all there or nothing.

    An encoder is written where params.json has the encoder's keys. Memory stays at a few chunks of
    values. `report` is told bytes done and in all. Raises ConfigError, OutputError.
    """
    if out.exists():
        raise OutputError(f"{out}: exists already; choose another name")
    config = ModelConfig.from_dict(params)
    tokenizer = params["multimodal"]["audio_tokenizer_args"]
    encoder = "encoder_transformer_lengths_str" in tokenizer
    shapes = checkpoint_tensors(config, encoder=encoder)
    total = 2 * sum(math.prod(shape) for shape in shapes.values())
    folder = out.absolute().parent
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    if free < total * 1.02:
        raise OutputError(
            f"{out}: needs {total / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free there"
        )
    with folder_beside(out) as temporary:
        text = json.dumps(params, indent=1) + "\n"
        (temporary / "params.json").write_text(text, encoding="utf-8")
        with (temporary / "consolidated.safetensors").open("wb") as file:
            file.write(header_bytes(shapes))
            done = 0
            for name, shape in shapes.items():
                for values in tensor_chunks(name, shape, config, seed):
                    file.write(to_bfloat16(values).astype("<u2").tobytes())
                    done += 2 * values.size
                    report(done, total)
        _write_tokenizer(temporary / "tekken.json", config)
        (temporary / "voice_embedding").mkdir()
        for name in config.voices:
            rows = _random_voice(temporary, config, shapes, name, seed)
            write_voice_pt(temporary / "voice_embedding" / f"{check_name(name)}.pt", rows)
        (temporary / "README.md").write_text(CARD, encoding="utf-8")
    return config


CARD = """---
license: cc0-1.0
---
Random weights in the layout of Voxtral TTS, made by `flowvox random-checkpoint`. They say nothing.
"""


def tensor_chunks(
    name: str, shape: Shape, config: ModelConfig, seed: int
) -> Iterator[NDArray[np.float32]]:
    """The values of one tensor in order, in flat chunks; each tensor has its own stream.

    A Gaussian needs 8 ns a value; long tensors repeat one chunk, shifted and negated at random,
    which writes 4B in minutes and changes neither size, speed nor numerical behaviour.
    """
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(int.from_bytes(key[:8], "little")))
    mean, deviation = _scale(name, shape, config)
    size = math.prod(shape)
    base = rng.standard_normal(min(size, CHUNK), dtype=np.float32) * np.float32(deviation)
    written = 0
    while written < size:
        count = min(CHUNK, size - written)
        if written:
            base = np.roll(base, int(rng.integers(1, len(base)))) * rng.choice([-1.0, 1.0])
        values = base[:count].astype(np.float32) + np.float32(mean)
        if name.endswith("cluster_usage"):
            values = np.abs(values)
        written += count
        yield values


def _scale(name: str, shape: Shape, config: ModelConfig) -> tuple[float, float]:
    """(mean, standard deviation) of a tensor's values."""
    if name.endswith("cluster_usage"):
        return 1.0, 0.2
    if name.endswith("norm.weight"):
        return 1.0, 0.1
    if name.endswith(("attention_scale", "ffn_scale")):
        return 0.3, 0.03
    if name.endswith("original0"):  # weight norm's gain: unit gain for unit inputs
        return 0.7, 0.05
    if name.endswith(("original1", "embedding_sum")):
        return 0.0, 1.0
    if name == TOKEN_EMBEDDINGS:
        return 0.0, 0.5
    if name == CODE_EMBEDDINGS:
        return 0.0, 0.5 / math.sqrt(config.n_codebooks)
    deviation = shape[-1] ** -0.5
    if name.endswith(("wo.weight", "w2.weight")):
        layers = config.flow.n_layers if name.startswith(FLOW) else config.backbone.n_layers
        deviation /= math.sqrt(2 * layers) if not name.startswith(CODEC) else 1.0
    return 0.0, deviation


def _random_voice(
    folder: Path, config: ModelConfig, shapes: dict[str, Shape], name: str, seed: int
) -> NDArray[np.float32]:
    """Rows of random codes and the END frame, summed from the code table (format C, "A voice")."""
    chunks = tensor_chunks(CODE_EMBEDDINGS, shapes[CODE_EMBEDDINGS], config, seed)
    table = np.concatenate(list(chunks)).reshape(shapes[CODE_EMBEDDINGS])
    rng = np.random.default_rng([seed, len(name), *name.encode()])
    frames = int(rng.integers(8, 20))
    values = np.zeros((frames + 1, config.n_codebooks), dtype=np.int64)
    values[:-1, 0] = SPECIAL_CODES + rng.integers(config.codec.semantic_codebook_size, size=frames)
    acoustic = rng.integers(
        config.codec.acoustic_codebook_size, size=(frames, config.codec.acoustic_dim)
    )
    values[:-1, 1:] = SPECIAL_CODES + acoustic
    values[-1, 0] = END_VALUE
    rows: NDArray[np.float32] = table[values + np.array(config.code_offsets)].sum(axis=1)
    return rows


def _write_tokenizer(path: Path, config: ModelConfig) -> None:
    """A tekken.json of the right size: the bytes, then made-up letter sequences."""
    specials = min(1000, config.backbone.vocab_size - 256)
    if specials <= 36:
        raise ConfigError(f"a vocabulary of {config.backbone.vocab_size} has no room for [AUDIO]")
    valid = config.backbone.vocab_size - specials
    listed = 150_000 if config.backbone.vocab_size == 131072 else valid
    letters = "etaoinshrdlucmfwygpbvkxjqz"
    tokens = [bytes([b]) for b in range(256)]
    for length in range(2, 6):
        if len(tokens) >= listed:
            break
        for index in range(min(26**length, listed - len(tokens))):
            digits = [(index // 26**k) % 26 for k in range(length)]
            tokens.append("".join(letters[d] for d in digits).encode())
    vocabulary = [
        {
            "rank": rank,
            "token_bytes": base64.b64encode(token).decode(),
            "token_str": token.decode() if token.isascii() else None,
        }
        for rank, token in enumerate(tokens[:listed])
    ]
    document = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": listed,
            "default_vocab_size": config.backbone.vocab_size,
            "default_num_special_tokens": specials,
            "version": "v7",
        },
        "vocab": vocabulary,
        "special_tokens": [
            {
                "rank": i,
                "token_str": PUBLISHED_SPECIALS.get(i, f"<SPECIAL_{i}>"),
                "is_control": True,
            }
            for i in range(specials)
        ],
        "audio": {
            "sampling_rate": config.codec.sampling_rate,
            "frame_rate": config.frame_rate,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
            "voice_num_audio_tokens": dict.fromkeys(config.voices, 0),
        },
    }
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
