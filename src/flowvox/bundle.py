"""Bundles: a folder of graphs, tables, tokenizer and voices, described by manifest.json.

Loading a bundle never runs code and never leaves its folder. See docs/bundle-format.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.adapter import AdapterRecord, parse_records
from flowvox.config import ModelConfig
from flowvox.errors import BundleError, VoiceError
from flowvox.files import folder_beside
from flowvox.graphs import CODEC_ENCODER, GraphSpec, graph_specs
from flowvox.manifest import MANIFEST, SCHEMA, read_manifest
from flowvox.recipe import KV_CACHES
from flowvox.tables import Table
from flowvox.tokenizer import Tokenizer
from flowvox.voices import unknown_voice

WORK = ".unfinished"


def file_hash(path: Path) -> str:
    """sha256 of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def write_bundle(
    path: Path,
    *,
    overwrite: bool,
    resumable: Callable[[Path], bool] = lambda unfinished: False,
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (temporary folder, manifest to fill); on a clean end it becomes the bundle `path`.

    Sizes and hashes of all files are added to the manifest. The folder WORK in it is the writer's own
    and does not become part of the bundle; for `resumable` see `folder_beside`. Raises OutputError if
    `path` exists.
    """
    manifest: dict[str, Any] = {"schema": SCHEMA}
    with folder_beside(path, overwrite=overwrite, resumable=resumable) as folder:
        yield folder, manifest
        work = folder / WORK
        manifest["files"] = {
            file.relative_to(folder).as_posix(): {
                "bytes": file.stat().st_size,
                "sha256": file_hash(file),
            }
            for file in sorted(folder.rglob("*"))
            if file.is_file() and work not in file.parents
        }
        shutil.rmtree(work, ignore_errors=True)
        text = json.dumps(manifest, indent=1) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. path: its folder; manifest: the parsed manifest.json."""

    path: Path
    manifest: Mapping[str, Any]
    config: ModelConfig

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Bundle:
        """Read the manifest and check the files: present, inside, right size and (verify) sha256.

        Raises BundleError or ConfigError, in one line that names the file.
        """
        bundle = cls.unchecked(path)
        damage = next(bundle.damage(hashes=verify), None)
        if damage:
            raise BundleError(damage)
        return bundle

    @classmethod
    def unchecked(cls, path: Path) -> Bundle:
        """Only the manifest, for `flowvox verify`, which lists all damage by itself."""
        manifest = read_manifest(path)
        where = f"{path}/{MANIFEST}: model"
        return cls(path, manifest, ModelConfig.from_dict(manifest["model"]["params"], where))

    def damage(self, *, hashes: bool) -> Iterator[str]:
        """A line for each file that is missing, unlisted, outside, or of other size or content."""
        files = self.manifest["files"]
        for name, entry in files.items():
            try:
                file = self.file(name)
            except BundleError as error:
                yield str(error)
                continue
            if not file.is_file():
                yield f"{file}: is missing; copy or make the bundle again"
            elif file.stat().st_size != entry["bytes"]:
                yield f"{file}: has another size than when it was made; copy the bundle again"
            elif hashes and file_hash(file) != entry["sha256"]:
                yield f"{file}: was changed after it was made; copy or make the bundle again"
        for name in self._referenced():
            try:
                self.file(name)
            except BundleError as error:
                yield str(error)
        for file in sorted(self.path.rglob("*")):
            name = file.relative_to(self.path).as_posix()
            folder = file.is_dir() and not file.is_symlink()
            if not folder and name not in files and name != MANIFEST:
                yield f"{file}: does not belong to the bundle; remove it"
        if self.manifest["graphs"] != {n: spec.to_dict() for n, spec in self.graphs.items()}:
            yield f"{self.path}: its graphs are not those of this flowvox; make the bundle again"

    def _referenced(self) -> Iterator[str]:
        """Names of all files that the manifest's other sections and the graphs speak of."""
        yield "tekken.json"
        for graph in self.manifest["graphs"]:
            yield from (f"{graph}.onnx", f"{graph}.onnx.data")
        for table in self.manifest["tables"].values():
            yield from (table[key] for key in ("file", "scales") if key in table)
        yield from (voice["file"] for voice in self.manifest["voices"].values())

    def file(self, name: str) -> Path:
        """The path of a listed file; names and links that lead out of the folder are refused."""
        pure = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
        plain = pure.parts and pure.as_posix() == name and not pure.is_absolute()
        if not plain or ".." in pure.parts or set("\\:\0") & set(name):
            raise BundleError(
                f"{self.path}/{MANIFEST}: {name!r} points outside the bundle; refused"
            )
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise BundleError(f"{path}: is a link that points outside the bundle; refused")
        if name not in self.manifest["files"]:
            raise BundleError(f"{self.path}/{MANIFEST}: {name!r} is not in its list of files")
        return path

    @property
    def graphs(self) -> dict[str, GraphSpec]:
        """The contract of every graph, as the recipe makes them. Raises BundleError."""
        recipe = self.manifest["recipe"]
        cache = recipe.get("kv_cache", recipe.get("compute", KV_CACHES[0]))
        if cache not in KV_CACHES:
            raise BundleError(f"{self.path}/{MANIFEST}: 'recipe.kv_cache' is malformed")
        encoder = CODEC_ENCODER in self.manifest["graphs"]
        return graph_specs(self.config, encoder=encoder, cache=cache)

    @property
    def adapters(self) -> list[AdapterRecord]:
        """What was merged into the weights before they were converted."""
        return parse_records(self.manifest["model"].get("adapters", []))

    @property
    def voices(self) -> list[str]:
        return sorted(self.manifest["voices"])

    @property
    def default_voice(self) -> str:
        """The first voice of params.json that is here, else the first by name. Raises VoiceError."""
        if not self.voices:
            raise VoiceError(f"{self.path}: has no voices")
        return next((v for v in self.config.voices if v in self.voices), self.voices[0])

    def voice(self, name: str) -> NDArray[np.float32]:
        """Rows [N, dim] of a voice. Raises VoiceError, naming the voices there are."""
        if name not in self.manifest["voices"]:
            raise unknown_voice(name, self.voices)
        entry = self.manifest["voices"][name]
        table = Table(self.file(entry["file"]), None, (entry["rows"], self.config.backbone.dim))
        rows = table.rows(np.arange(entry["rows"]))
        if not np.isfinite(rows).all():
            raise BundleError(f"{self.path}: voice {name} is not finite; make the bundle again")
        return rows

    def table(self, name: str) -> Table:
        """ "token_embeddings" or "code_embeddings"."""
        entry = self.manifest["tables"][name]
        scales = entry.get("scales")
        rows = {
            "token_embeddings": self.config.backbone.vocab_size,
            "code_embeddings": self.config.code_table_rows_padded,
        }[name]
        return Table(
            self.file(entry["file"]),
            None if scales is None else self.file(scales),
            (rows, self.config.backbone.dim),
        )

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, of the model's vocabulary. Raises TokenizerError or BundleError."""
        path, expected = self.file("tekken.json"), self.config.backbone.vocab_size
        tokenizer = Tokenizer.load(path)
        if tokenizer.vocab_size != expected:
            raise BundleError(
                f"{path}: has {tokenizer.vocab_size} tokens, the model {expected}; "
                "make the bundle again"
            )
        return tokenizer

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(int(entry["bytes"]) for entry in self.manifest["files"].values())
