"""A checkpoint folder in the published layout, read one tensor at a time (format A.1 - A.3)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.errors import CheckpointError, ConfigError
from flowvox.reference.safetensors_file import SafetensorsFile
from flowvox.tensors import (
    OUTPUT_HEAD,
    Shape,
    checkpoint_tensors,
    has_encoder,
)
from flowvox.voices import check_name, read_voice_pt, unknown_voice

WEIGHTS = "consolidated.safetensors"
_LICENCE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)


@dataclass
class Checkpoint:
    """Implements `flowvox.tensors.WeightSource`.

    config: sizes; shapes: every tensor in the files; path: the folder.
    """

    path: Path
    config: ModelConfig
    shapes: dict[str, Shape]
    _files: dict[str, SafetensorsFile]

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open a folder with params.json and *.safetensors (one file, or several shards).

        Names and shapes are validated against params.json; values are checked when they are read.
        Raises ConfigError or CheckpointError.
        """
        if not path.is_dir():
            raise ConfigError(f"{path}: no such checkpoint folder")
        config = ModelConfig.load(path)
        whole = path / WEIGHTS
        shards = [whole] if whole.exists() else sorted(path.glob("*.safetensors"))
        if not shards:
            raise CheckpointError(f"{path}: no {WEIGHTS} here; download the weights too")
        files: dict[str, SafetensorsFile] = {}
        for shard in shards:
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
        """`license:` of the README's front matter, "unknown" without one."""
        try:
            text = (self.path / "README.md").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "unknown"
        match = _LICENCE.search(text.split("\n---", 1)[0]) if text.startswith("---") else None
        return match.group(1) if match else "unknown"

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

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32. Raises CheckpointError where it holds NaN or infinity."""
        values = self._files[name].read(name)
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"{self.path}: {name} holds values that are not finite; download the weights again"
            )
        return values

    def source_hash(self) -> str:
        """sha256 over params.json and the weight files, streamed."""
        digest = hashlib.sha256((self.path / "params.json").read_bytes())
        for file in dict.fromkeys(self._files.values()):
            for piece in file.chunks():
                digest.update(piece)
        return digest.hexdigest()

    def zero_rows(self, name: str) -> int:
        """Number of all-zero rows of a matrix, for `flowvox verify`."""
        values = self.read(name)
        return int((~values.any(axis=tuple(range(1, values.ndim)))).sum()) if values.ndim > 1 else 0

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


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
