"""Graphs as onnxruntime lays them out for this processor, kept in the user's cache folder.

Loading a graph re-arranges its weights for the kernels of the processor at hand, into private memory:
most of what a process holds. Written once to a file that is mapped from then on, this copy costs no
private memory and is shared by all processes. What was written for one machine is of no use to
another, so every graph has a folder named by all that its content depends on, with a stamp that says
when the files were whole. `flowvox.runtime.prepack` writes them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from flowvox.bundle import Bundle, file_hash
from flowvox.machine import cpu_identity

LOG = logging.getLogger("flowvox")
STAMP, LAYOUT = "stamp.json", 1
LARGEST_STAMP = 1 << 16


def cache_folder() -> Path:
    """Where the pre-packed graphs of this user are."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flowvox" / "prepacked"


def graph_files(graph: str) -> tuple[str, str]:
    """Names of a graph and of its weights, in a bundle and in the cache."""
    return f"{graph}.onnx", f"{graph}.onnx.data"


def prepack_key(bundle: Bundle, graph: str) -> dict[str, Any]:
    """All that the pre-packed form of a graph depends on."""
    files = bundle.manifest["files"]
    return {
        "layout": LAYOUT,
        "graph": graph,
        "files": [files[name]["sha256"] for name in graph_files(graph)],
        "onnxruntime": ort.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": cpu_identity(),
    }


def graph_folder(key: Mapping[str, Any]) -> Path:
    """The folder of the graph with this key."""
    text = json.dumps(key, sort_keys=True)
    return cache_folder() / hashlib.sha256(text.encode()).hexdigest()[:32]


def find_prepacked(bundle: Bundle, graph: str) -> Path | None:
    """The pre-packed file of a graph, if there is one and it is as it was written.

    Damaged ones are named in a warning and not used.
    """
    key = prepack_key(bundle, graph)
    folder = graph_folder(key)
    if not folder.exists():
        return None
    fault = _fault(folder, key, graph)
    if fault:
        LOG.warning("%s: not used, %s; write it again with flowvox prepack", folder, fault)
        return None
    return folder / graph_files(graph)[0]


def write_stamp(folder: Path, key: Mapping[str, Any], bundle: Path, graph: str) -> None:
    """Say that the files of `folder` are whole, as they are now on the disk."""
    for name in graph_files(graph):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    stamp = {
        "key": key,
        "bundle": str(bundle.resolve()),
        "files": {name: _seen(folder / name) for name in graph_files(graph)},
        "graph_sha256": file_hash(folder / graph_files(graph)[0]),
    }
    (folder / STAMP).write_text(json.dumps(stamp), encoding="utf-8")


def remove_stale(bundle: Path, current: Mapping[str, Any]) -> None:
    """Remove what can no longer be used: older forms of this graph, graphs of vanished bundles."""
    for folder, stamp in _stamped():
        key = stamp["key"]
        older = stamp["bundle"] == str(bundle.resolve()) and key["graph"] == current["graph"]
        if key != current and (older or not Path(stamp["bundle"]).is_dir()):
            shutil.rmtree(folder, ignore_errors=True)


def clear_cache() -> int:
    """Remove all pre-packed graphs of this user; returns the bytes that they took."""
    folder = cache_folder()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder, ignore_errors=True)
    return size


def _fault(folder: Path, key: Mapping[str, Any], graph: str) -> str | None:
    """Why a folder of the cache cannot be trusted; None if it can.

    Weights of gigabytes are not hashed again: whoever writes to a file changes its time.
    """
    try:
        if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
            return "it is not this user's"
        stamp = _read_stamp(folder)
        if stamp["key"] != key:
            return "it is of another graph"
        for name in graph_files(graph):
            if (folder / name).is_symlink() or _seen(folder / name) != stamp["files"][name]:
                return f"{name} was changed after it was written"
        if file_hash(folder / graph_files(graph)[0]) != stamp["graph_sha256"]:
            return "its graph was changed after it was written"
    except (OSError, ValueError, KeyError, TypeError):
        return "it is incomplete"
    return None


def _seen(file: Path) -> dict[str, int]:
    """What tells that a file is still the one that was written."""
    status = file.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _read_stamp(folder: Path) -> dict[str, Any]:
    file = folder / STAMP
    if file.stat().st_size > LARGEST_STAMP:
        raise ValueError("it is absurdly large")
    stamp = json.loads(file.read_text(encoding="utf-8"))
    return {name: stamp[name] for name in ("key", "bundle", "files", "graph_sha256")}


def _stamped() -> Iterator[tuple[Path, dict[str, Any]]]:
    """All folders of the cache that have a readable stamp."""
    for file in sorted(cache_folder().glob(f"*/{STAMP}")):
        try:
            stamp = _read_stamp(file.parent)
            if isinstance(stamp["key"]["graph"], str) and isinstance(stamp["bundle"], str):
                yield file.parent, stamp
        except (OSError, ValueError, KeyError, TypeError):
            continue
