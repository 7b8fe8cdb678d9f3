"""A GGUF file as a checkpoint: the same names, shapes and values, read a few rows at a time."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flowvox.adapter import AdapterRecord, parse_records
from flowvox.config import ModelConfig
from flowvox.errors import CheckpointError, VoiceError
from flowvox.exporters.gguf.container import MAGIC, GgufFile, StoredTensor
from flowvox.exporters.gguf.metadata import ADAPTERS, ARCHITECTURE, read_config
from flowvox.exporters.gguf.names import USAGE, VOCABULARY, VOICE, Entry, entries
from flowvox.exporters.gguf.vocabulary import tekken_document
from flowvox.quantizers.ggml.formats import Bytes, Floats
from flowvox.quantizers.ggml.rows import dequantize_rows
from flowvox.tensors import Shape, checkpoint_tensors
from flowvox.tokenizer import Tokenizer
from flowvox.voices import MAX_ROWS, check_name, unknown_voice

VALUES_AT_ONCE = 1 << 22
ENCODER = "codec.enc."
Report = Callable[[int, int], None]


class GgufCheckpoint:
    """Implements `flowvox.source.ModelSource`.

    What was folded is given back in two: a convolution as its own direction with its norms as gain,
    the centroids as sums with a usage of one. Folding them again gives the stored values, convolutions
    to the last bit but one.
    """

    def __init__(self, path: Path) -> None:
        """Read and check the header. Raises CheckpointError or ConfigError."""
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        self.path = path
        self._file = GgufFile(path)
        architecture = self._file.metadata.get("general.architecture")
        if architecture != ARCHITECTURE:
            raise CheckpointError(
                f"{path}: its architecture is {architecture!r}, not '{ARCHITECTURE}'; this is not a "
                "Voxtral TTS model"
            )
        self.config: ModelConfig = read_config(self._file.metadata, str(path))
        self._check_extent()
        self.has_encoder = any(name.startswith(ENCODER) for name in self._file.tensors)
        self.shapes: dict[str, Shape] = checkpoint_tensors(self.config, encoder=self.has_encoder)
        self._tokenizer: Tokenizer | None = None
        self._entries: dict[str, Entry] = {}
        for entry in entries(self.config, encoder=self.has_encoder):
            self._check(entry)
            self._entries[entry.tensor] = entry
            if entry.beside:
                self._entries[entry.beside] = entry

    @property
    def licence(self) -> str:
        licence = self._file.metadata.get("general.license")
        return licence if isinstance(licence, str) and licence else "unknown"

    @property
    def recipe(self) -> str:
        """Name of the recipe that the file says it was made by."""
        return str(self._file.metadata.get("flowvox.recipe", "unknown"))

    @property
    def rules(self) -> dict[str, Any]:
        """That recipe as data; empty where the file has none that is readable."""
        try:
            found = json.loads(str(self._file.metadata.get("flowvox.rules", "{}")))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def made_from(self) -> str | None:
        """sha256 of the checkpoint that flowvox wrote the file from; None for other tools' files."""
        return self._file.metadata.get("flowvox.source_sha256")

    @property
    def adapters(self) -> list[AdapterRecord]:
        """What the file says was merged before it was written. Raises CheckpointError."""
        try:
            return parse_records(json.loads(self._file.metadata.get(ADAPTERS, "[]")))
        except (TypeError, ValueError, RecursionError):
            raise CheckpointError(f"{self.path}: {ADAPTERS} is malformed; write it again") from None

    def voices(self) -> dict[str, Shape]:
        """Voice name -> shape of its rows, sorted by name. Raises VoiceError for an odd name."""
        names = sorted(name for name in self._file.tensors if name.startswith(VOICE))
        return {
            check_name(name.removeprefix(VOICE)): self._file.tensors[name].shape for name in names
        }

    def voice(self, name: str) -> Floats:
        """Rows [N, dim] of a voice. Raises VoiceError, naming the voices there are."""
        voices, dim = self.voices(), self.config.backbone.dim
        if name not in voices:
            raise unknown_voice(name, list(voices))
        shape = voices[name]
        if len(shape) != 2 or shape[1] != dim or shape[0] > MAX_ROWS:
            raise VoiceError(
                f"{self.path}: the voice {name} has shape {list(shape)}, this model needs [N, {dim}]"
            )
        return self._finite(name, self._rows(VOICE + name, 0, shape[0]).reshape(shape))

    def tokenizer_json(self) -> bytes:
        """The tekken.json that the file was made from, up to tokens without an id."""
        stored = self._file.tensors.get(VOCABULARY)
        if stored is None or len(stored.shape) != 1 or stored.form.name != "float32":
            raise CheckpointError(f"{self.path}: has no vocabulary; write it again")
        document = tekken_document(
            self._file.metadata,
            self._rows(VOCABULARY, 0, stored.shape[0]).reshape(-1),
            self.config.backbone.vocab_size,
            str(self.path),
        )
        return (json.dumps(document) + "\n").encode()

    def tokenizer(self) -> Tokenizer:
        """Made once. Raises CheckpointError or TokenizerError."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.parse(self.tokenizer_json(), str(self.path))
        return self._tokenizer

    def read(self, name: str) -> Floats:
        """One tensor as float32. Raises CheckpointError where it holds NaN or infinity."""
        return self.read_rows(name, 0, self.shapes[name][0])

    def read_rows(self, name: str, start: int, stop: int) -> Floats:
        """Steps start ... stop - 1 along the first axis; raises as `read`."""
        shape = (stop - start, *self.shapes[name][1:])
        if name == USAGE:
            return np.ones(shape, dtype=np.float32)
        entry = self._entries[name]
        values = self._finite(name, self._rows(entry.name, start, stop))
        if not entry.is_convolution:
            return values.reshape(shape)
        norms = np.sqrt(np.square(values, dtype=np.float64).sum(axis=1)).astype(np.float32)
        if name == entry.beside:
            return norms.reshape(shape)
        values[norms == 0] = 1  # any direction will do for a gain of 0
        return values.reshape(shape)

    def block_format(self, name: str) -> str | None:
        """Name of the blocks that a matrix is stored in; None for everything else."""
        entry, form = self._entries[name], self._stored(name).form
        matrix = entry.beside is None and len(entry.shape) == 2
        return form.name if matrix and form.weights > 1 else None

    def packed(self, name: str) -> Bytes:
        """The blocks of such a matrix, [rows, bytes of a row]."""
        entry = self._entries[name]
        return self._file.read(entry.name, 0, entry.shape[0])

    def stored_format(self, name: str) -> str:
        """Name of the block format that a tensor of `shapes` is stored in."""
        return self._stored(name).form.name

    def stored_bytes(self, name: str) -> int:
        """Size of a tensor in its file; what is folded into another takes none."""
        folded = name == self._entries[name].beside
        return 0 if folded else self._stored(name).size

    def source_hash(self, report: Report = lambda done, total: None) -> str:
        """sha256 over the file, streamed; `report` is told bytes."""
        digest, done, total = hashlib.sha256(), 0, self.path.stat().st_size
        for piece in self._file.chunks():
            digest.update(piece)
            done += len(piece)
            report(done, total)
        return digest.hexdigest()

    def zero_rows(self, name: str) -> int:
        """Number of all-zero rows of a matrix, for `flowvox verify`; 0 for vectors."""
        rows, *rest = self.shapes[name]
        step = max(1, VALUES_AT_ONCE // max(1, math.prod(rest)))
        count = 0
        for start in range(0, rows, step):
            values = self.read_rows(name, start, min(start + step, rows))
            if rest:
                count += int((~values.any(axis=tuple(range(1, values.ndim)))).sum())
        return count

    def _stored(self, name: str) -> StoredTensor:
        return self._file.tensors[self._entries[name].name]

    def _rows(self, name: str, start: int, stop: int) -> Floats:
        """float32 [stop - start, values of one step], de-quantized a piece at a time."""
        stored = self._file.tensors[name]
        width = math.prod(stored.shape[1:])
        out = np.empty((stop - start, width), dtype=np.float32)
        step = max(1, VALUES_AT_ONCE // width)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            data = self._file.read(name, first, last)
            out[first - start : last - start] = dequantize_rows(stored.form.name, data)
        return out

    def _finite(self, name: str, values: Floats) -> Floats:
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"{self.path}: {name} holds values that are not finite; write it again"
            )
        return values

    def _check_extent(self) -> None:
        """Before anything is made per layer: the file has a tensor for each, and no bias."""
        codec = self.config.codec
        layers = self.config.backbone.n_layers + self.config.flow.n_layers
        layers += sum(codec.decoder_lengths)
        if layers > len(self._file.tensors):
            raise CheckpointError(
                f"{self.path}: promises {layers} layers, but has {len(self._file.tensors)} tensors"
            )
        bias = next((name for name in self._file.tensors if name.endswith(".bias")), None)
        if bias:
            raise CheckpointError(
                f"{self.path}: has {bias}; flowvox knows this model without biases"
            )

    def _check(self, entry: Entry) -> None:
        stored = self._file.tensors.get(entry.name)
        if stored is None:
            raise CheckpointError(f"{self.path}: {entry.name} is missing; write it again")
        if stored.shape != entry.shape:
            raise CheckpointError(
                f"{self.path}: {entry.name} has shape {list(stored.shape)}, but its metadata says "
                f"{list(entry.shape)}"
            )
        if len(stored.shape) == 1 and stored.form.weights > 1:
            raise CheckpointError(f"{self.path}: {entry.name} is a vector, but stored in blocks")


def is_gguf(path: Path) -> bool:
    """Whether the file begins like one."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False
