"""A checkpoint folder in the published layout, read one tensor at a time (format A.1 - A.3)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.adapter import AdapterRecord
from flowvox.config import ModelConfig
from flowvox.errors import CheckpointError, ConfigError, TokenizerError
from flowvox.reference.safetensors_file import SafetensorsFile
from flowvox.reference.shards import weight_files
from flowvox.tensors import (
    OUTPUT_HEAD,
    Shape,
    checkpoint_tensors,
    has_encoder,
)
from flowvox.tokenizer import Tokenizer
from flowvox.voices import check_name, read_voice_pt, unknown_voice

VALUES_AT_ONCE = 1 << 24  # of a tensor that is read in pieces
Report = Callable[[int, int], None]
_LICENCE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)


@dataclass
class Checkpoint:
    """Implements `flowvox.source.ModelSource`.

    config: sizes; shapes: every tensor in the files; path: the folder.
    """

    path: Path
    config: ModelConfig
    shapes: dict[str, Shape]
    _files: dict[str, SafetensorsFile]
    _tokenizer: Tokenizer | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open a folder with params.json and *.safetensors (one file, or shards with an index).

        Names and shapes are validated against params.json; values are checked when they are read.
        Raises ConfigError or CheckpointError.
        """
        if not path.is_dir():
            raise ConfigError(f"{path}: no such checkpoint folder")
        config = ModelConfig.load(path)
        files: dict[str, SafetensorsFile] = {}
        for shard in weight_files(path):
            file = SafetensorsFile(shard)
            for name in file.tensors:
                if name in files:
                    raise CheckpointError(f"{path}: {name} is in two shards; remove one of them")
                files[name] = file
        shapes = {name: file.tensors[name].shape for name, file in files.items()}
        checkpoint = cls(path, config, shapes, files)
        checkpoint._check_shapes()
        return checkpoint

    @property
    def has_encoder(self) -> bool:
        """Whether the codec encoder is among the tensors."""
        return has_encoder(self.shapes)

    @property
    def tokenizer_path(self) -> Path:
        return self.path / "tekken.json"

    @property
    def licence(self) -> str:
        return card_licence(self.path / "README.md")

    @property
    def adapters(self) -> list[AdapterRecord]:
        """None."""
        return []

    def voices(self) -> dict[str, Path]:
        """Voice name -> file, sorted by name."""
        files = sorted((self.path / "voice_embedding").glob("*.pt"))
        return {check_name(file.stem): file for file in files}

    def voice(self, name: str) -> NDArray[np.float32]:
        """Rows [N, dim] of a voice. Raises VoiceError, naming the voices there are."""
        voices = self.voices()
        if name not in voices:
            raise unknown_voice(name, list(voices))
        return read_voice_pt(voices[name], self.config.backbone.dim)

    def tokenizer_json(self) -> bytes:
        """The bytes of tekken.json. Raises TokenizerError."""
        try:
            return self.tokenizer_path.read_bytes()
        except OSError as error:
            raise TokenizerError(
                f"{self.tokenizer_path}: cannot be read ({error.strerror}); a checkpoint has one"
            ) from None

    def tokenizer(self) -> Tokenizer:
        """Made once. Raises TokenizerError."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.load(self.tokenizer_path)
        return self._tokenizer

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32. Raises CheckpointError where it holds NaN or infinity."""
        return self._finite(name, self._files[name].read(name))

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Some rows of a tensor as float32; raises as `read`."""
        return self._finite(name, self._files[name].read_rows(name, start, stop))

    def block_format(self, name: str) -> None:
        """None: no tensor of a checkpoint is stored in ggml's blocks."""

    def packed(self, name: str) -> NDArray[np.uint8]:
        """No blocks, no bytes of them."""
        raise CheckpointError(f"{self.path}: {name} is not stored in ggml's blocks")

    def stored_bytes(self, name: str) -> int:
        """Size of a tensor in its file."""
        return self._files[name].tensors[name].size

    def source_hash(self, report: Report = lambda done, total: None) -> str:
        """sha256 over params.json and the weight files, streamed; `report` is told bytes."""
        digest = hashlib.sha256((self.path / "params.json").read_bytes())
        files = list(dict.fromkeys(self._files.values()))
        done, total = 0, sum(file.path.stat().st_size for file in files)
        for file in files:
            for piece in file.chunks():
                digest.update(piece)
                done += len(piece)
                report(done, total)
        return digest.hexdigest()

    def zero_rows(self, name: str) -> int:
        """Number of all-zero rows of a matrix, for `flowvox verify`; 0 for vectors."""
        rows, *rest = self.shapes[name] or (1,)
        if not rest:
            self.read(name)
            return 0
        step = max(1, VALUES_AT_ONCE // max(1, math.prod(rest)))
        axes = tuple(range(1, len(rest) + 1))
        return sum(
            int((~self.read_rows(name, start, min(start + step, rows)).any(axis=axes)).sum())
            for start in range(0, rows, step)
        )

    def _finite(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"{self.path}: {name} holds values that are not finite; download the weights again"
            )
        return values

    def _check_shapes(self) -> None:
        expected = checkpoint_tensors(self.config, encoder=self.has_encoder)
        missing = [name for name in expected if name not in self.shapes]
        if missing:
            raise CheckpointError(
                f"{self.path}: {len(missing)} tensors are missing, {_few(missing)}; "
                "download the weights again"
            )
        extra = [name for name in self.shapes if name not in expected and name != OUTPUT_HEAD]
        if extra:
            raise CheckpointError(
                f"{self.path}: {len(extra)} tensors do not belong to this model, {_few(extra)}; "
                "is params.json that of another checkpoint?"
            )
        for name, shape in expected.items():
            if self.shapes[name] != shape:
                raise CheckpointError(
                    f"{self.path}: {name} has shape {list(self.shapes[name])}, but params.json "
                    f"says {list(shape)}; is params.json that of another checkpoint?"
                )


def card_licence(readme: Path) -> str:
    """`license:` of a model card's front matter, "unknown" without one."""
    try:
        text = readme.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    match = _LICENCE.search(text.split("\n---", 1)[0]) if text.startswith("---") else None
    return match.group(1) if match else "unknown"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
