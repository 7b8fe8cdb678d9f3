"""What is finished of a bundle in the making, so that an interrupted conversion goes on from there.

In the folder WORK of the unfinished bundle: `finished.json`, with the key of the conversion and what
each finished component is (its files' sizes and hashes, its result), and `reference.npz`.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any
from zipfile import BadZipFile

import numpy as np

from flowvox import __version__
from flowvox.bundle import WORK, file_hash
from flowvox.errors import FlowvoxError
from flowvox.exporters.onnx.check import Recording
from flowvox.files import write_beside
from flowvox.recipe import Recipe

FINISHED, REFERENCE = "finished.json", "reference.npz"
KINDS = tuple(field.name for field in fields(Recording))


def conversion_key(source_hash: str, recipe: Recipe) -> str:
    """Components of two conversions with the same key are the same."""
    said = json.dumps([__version__, source_hash, recipe.to_dict()], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def is_unfinished(folder: Path, key: str) -> bool:
    """Whether `folder` holds at least one finished component of the conversion `key`."""
    return bool(_finished(folder, key))


class Parts:
    """The components of the unfinished bundle `folder`; what is not finished there is removed."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._work, self._key = folder, folder / WORK, key
        self._finished = {
            name: part for name, part in _finished(folder, key).items() if self._is_whole(part)
        }
        kept = {folder / file for part in self._finished.values() for file in part["files"]}
        for path in list(folder.iterdir()):
            if path in kept or (path == self._work and self._finished):
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._work.mkdir(exist_ok=True)

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if isinstance(error, FlowvoxError):  # the next attempt would meet it again
            shutil.rmtree(self._work, ignore_errors=True)

    def __contains__(self, name: str) -> bool:
        return name in self._finished

    def make(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of component `name`: as it was noted, or of `make`, which writes `name`.*"""
        if name not in self._finished:
            result = make()
            files = {
                file.name: {"bytes": file.stat().st_size, "sha256": file_hash(file)}
                for file in sorted(self._folder.glob(f"{name}.*"))
            }
            self._finished[name] = {"files": files, "result": result}
            text = json.dumps({"key": self._key, "components": self._finished})
            write_beside(self._work / FINISHED, text.encode())
        result = self._finished[name]["result"]
        return dict(result)

    def recordings(self, record: Callable[[], dict[str, Recording]]) -> dict[str, Recording]:
        """The reference's activations per graph, kept for the next attempt."""
        file = self._work / REFERENCE
        try:
            return _load(file)
        except (OSError, ValueError, EOFError, BadZipFile):
            recordings = record()
            write_beside(file, _saved(recordings))
            return recordings

    def _is_whole(self, part: dict[str, Any]) -> bool:
        """Whether the files are as they were noted; a machine that crashed may have lost some."""
        files = {self._folder / name: entry for name, entry in part["files"].items()}
        return all(
            file.is_file()
            and file.stat().st_size == entry["bytes"]
            and file_hash(file) == entry["sha256"]
            for file, entry in files.items()
        )


def _finished(folder: Path, key: str) -> dict[str, Any]:
    """The noted components; none if they are of another conversion or the note is damaged."""
    try:
        noted = json.loads((folder / WORK / FINISHED).read_text(encoding="utf-8"))
        return dict(noted["components"]) if noted["key"] == key else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _saved(recordings: dict[str, Recording]) -> bytes:
    arrays: dict[str, Any] = {
        f"{graph}|{kind}|{name}": array
        for graph, recording in recordings.items()
        for kind, values in vars(recording).items()
        for name, array in values.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _load(file: Path) -> dict[str, Recording]:
    values: dict[str, dict[str, dict[str, Any]]] = {}
    with np.load(file) as arrays:
        for key in arrays.files:
            graph, kind, name = key.split("|")
            values.setdefault(graph, {kind: {} for kind in KINDS})[kind][name] = arrays[key]
    return {graph: Recording(**both) for graph, both in values.items()}
