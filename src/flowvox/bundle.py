"""Bundles: a folder of graphs, tables, tokenizer and voices, described by manifest.json.

Loading a bundle never runs code and never leaves its folder. See docs/bundle-format.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.errors import BundleError
from flowvox.files import folder_beside
from flowvox.graphs import CODEC_ENCODER, graph_specs
from flowvox.tables import Table
from flowvox.tokenizer import Tokenizer
from flowvox.voices import unknown_voice

SCHEMA = 1
MANIFEST = "manifest.json"
MAX_MANIFEST = 64 << 20
CHUNK = 1 << 20
SECTIONS = {
    "model": dict,
    "recipe": dict,
    "graphs": dict,
    "sampling": dict,
    "tables": dict,
    "voices": dict,
    "files": dict,
    "license": str,
}


def file_hash(path: Path) -> str:
    """sha256 of a file, streamed."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def write_bundle(path: Path, *, overwrite: bool) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (temporary folder, manifest to fill); on a clean end it becomes the bundle `path`.

    Sizes and hashes of all files are added to the manifest. Raises OutputError if `path` exists.
    """
    manifest: dict[str, Any] = {"schema": SCHEMA}
    with folder_beside(path, overwrite=overwrite) as folder:
        yield folder, manifest
        manifest["files"] = {
            file.relative_to(folder).as_posix(): {
                "bytes": file.stat().st_size,
                "sha256": file_hash(file),
            }
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
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

        Raises BundleError, in one line that names the file.
        """
        bundle = cls.unchecked(path)
        manifest, config = bundle.manifest, bundle.config
        damage = next(bundle.damage(hashes=verify), None)
        if damage:
            raise BundleError(damage)
        encoder = CODEC_ENCODER in manifest["graphs"]
        expected = {k: v.to_dict() for k, v in graph_specs(config, encoder=encoder).items()}
        if manifest["graphs"] != expected:
            raise BundleError(
                f"{path}: its graphs are not those of this flowvox; make the bundle again"
            )
        return bundle

    @classmethod
    def unchecked(cls, path: Path) -> Bundle:
        """Only the manifest, for `flowvox verify`, which lists all damage by itself."""
        manifest = _read_manifest(path)
        where = f"{path}/{MANIFEST}: model"
        return cls(path, manifest, ModelConfig.from_dict(manifest["model"].get("params"), where))

    def damage(self, *, hashes: bool) -> Iterator[str]:
        """A line for each file that is missing, unlisted, outside, or of other size or content."""
        files = self.manifest["files"]
        for name, entry in files.items():
            try:
                file = self.file(name)
                size, digest = entry["bytes"], entry["sha256"]
            except BundleError as error:
                yield str(error)
                continue
            except (KeyError, TypeError):
                yield f"{self.path}/{MANIFEST}: the entry of {name} is malformed"
                continue
            if not file.is_file():
                yield f"{file}: is missing; copy or make the bundle again"
            elif file.stat().st_size != size:
                yield f"{file}: has another size than when it was made; copy the bundle again"
            elif hashes and file_hash(file) != digest:
                yield f"{file}: was changed after it was made; copy or make the bundle again"
        for file in sorted(self.path.rglob("*")):
            name = file.relative_to(self.path).as_posix()
            if file.is_file() and name not in files and name != MANIFEST:
                yield f"{file}: does not belong to the bundle; remove it"

    def file(self, name: Any) -> Path:
        """The path of a listed file; names that lead out of the folder are refused."""
        if not isinstance(name, str):
            raise BundleError(f"{self.path}/{MANIFEST}: {name!r} is not a file name")
        pure = PurePosixPath(name)
        plain = not pure.is_absolute() and ".." not in pure.parts and "\\" not in name
        path = self.path / name
        if not plain or not path.resolve().is_relative_to(self.path.resolve()):
            raise BundleError(
                f"{self.path}/{MANIFEST}: {name!r} points outside the bundle; refused"
            )
        if name not in self.manifest["files"]:
            raise BundleError(f"{self.path}/{MANIFEST}: {name!r} is not in its list of files")
        return path

    @property
    def voices(self) -> list[str]:
        return sorted(self.manifest["voices"])

    def voice(self, name: str) -> NDArray[np.float32]:
        """Rows [N, dim] of a voice. Raises VoiceError, naming the voices there are."""
        if name not in self.manifest["voices"]:
            raise unknown_voice(name, self.voices)
        path = self.file(_entry(self.manifest["voices"][name], "file", self.path))
        try:
            rows = np.load(path, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise BundleError(f"{path}: not a readable array ({error})") from None
        if rows.ndim != 2 or rows.shape[1] != self.config.backbone.dim:
            raise BundleError(f"{path}: has shape {list(rows.shape)}; make the bundle again")
        return rows

    def table(self, name: str) -> Table:
        """ "token_embeddings" or "code_embeddings"."""
        entry = self.manifest["tables"].get(name)
        scales = entry.get("scales") if isinstance(entry, dict) else None
        rows = {
            "token_embeddings": self.config.backbone.vocab_size,
            "code_embeddings": self.config.code_table_rows_padded,
        }[name]
        return Table(
            self.file(_entry(entry, "file", self.path)),
            None if scales is None else self.file(scales),
            (rows, self.config.backbone.dim),
        )

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.file("tekken.json"))

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(int(entry["bytes"]) for entry in self.manifest["files"].values())


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        raise BundleError(f"{path}: not a bundle (no {MANIFEST}); make one with flowvox quantize")
    try:
        if file.stat().st_size > MAX_MANIFEST:
            raise ValueError("it is absurdly large")
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{file}: not readable ({error}); make the bundle again") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        version = manifest.get("schema") if isinstance(manifest, dict) else None
        raise BundleError(
            f"{file}: schema {version!r} is not {SCHEMA}; make the bundle again with this flowvox"
        )
    for key, kind in SECTIONS.items():
        if not isinstance(manifest.get(key), kind):
            raise BundleError(f"{file}: section '{key}' is missing; make the bundle again")
    return manifest


def _entry(entry: Any, key: str, path: Path) -> Any:
    try:
        return entry[key]
    except (KeyError, TypeError):
        raise BundleError(f"{path}/{MANIFEST}: an entry lacks '{key}'") from None
