"""Writing the pre-packed graphs of a bundle, see `flowvox.runtime.prepacked`.

onnxruntime saves a session's optimized graph together with what its kernels made of the weights. A
copy is only kept if it computes exactly what the bundle's own graph computes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from flowvox.bundle import Bundle
from flowvox.config import ModelConfig
from flowvox.errors import BundleError, FlowvoxError, OutputError
from flowvox.feeds import Feeds, backbone_feeds, decoder_feeds
from flowvox.files import folder_beside
from flowvox.graphs import BACKBONE, CODEC_ENCODER, FLOW, GraphSpec
from flowvox.machine import cores
from flowvox.runtime.prepacked import (
    LOG,
    cache_folder,
    find_prepacked,
    graph_files,
    graph_folder,
    prepack_key,
    remove_stale,
    write_stamp,
)
from flowvox.runtime.providers import CPU
from flowvox.runtime.sessions import load_graph, session_options
from flowvox.schedule import flow_schedule

EXTERNAL_BYTES = "1024"  # smaller tensors stay in the .onnx file
# Weights as they are stored and as they are laid out; half precision is widened twofold for both.
LARGEST_GROWTH = 4


def prepack(
    bundle: Bundle, report: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Path]:
    """Write the graphs that are not there yet; returns the folder of each.

    Memory holds one graph as speaking does. Raises OutputError (no space, no permission) and
    BundleError, and then leaves nothing half-written.
    """
    specs = {name: spec for name, spec in bundle.graphs.items() if name != CODEC_ENCODER}
    folders = {}
    for done, (name, spec) in enumerate(specs.items()):
        report(done, len(specs))
        folders[name] = graph_folder(prepack_key(bundle, name))
        if find_prepacked(bundle, name) is None:
            _write(bundle, spec, folders[name])
    report(len(specs), len(specs))
    return folders


def try_prepack(bundle: Bundle) -> None:
    """`prepack`, or a warning: a bundle speaks as well without."""
    try:
        prepack(bundle)
    except FlowvoxError as error:
        LOG.warning("not pre-packed: %s", error)


def _write(bundle: Bundle, spec: GraphSpec, folder: Path) -> None:
    key = prepack_key(bundle, spec.name)
    remove_stale(bundle.path, key)
    _check_space(bundle, spec.name)
    graph, data = graph_files(spec.name)
    with folder_beside(folder, overwrite=True) as temporary:
        options = session_options(cores())
        options.optimized_model_filepath = str(temporary / graph)
        for entry, value in (
            ("optimized_model_external_initializers_file_name", data),
            ("optimized_model_external_initializers_min_size_in_bytes", EXTERNAL_BYTES),
            ("save_external_prepacked_constant_initializers", "1"),
        ):
            options.add_session_config_entry(f"session.{entry}", value)
        session = load_graph(bundle.file(graph), spec, options, [CPU])
        (temporary / data).touch()  # a graph of small tensors has none
        write_stamp(temporary, key, bundle.path, spec.name)
        copy = load_graph(temporary / graph, spec, session_options(cores()), [CPU])
        if not _same(session, copy, _trial(bundle.config, spec)):
            raise BundleError(
                f"{bundle.path}: the pre-packed {spec.name} graph computes something else; not kept, "
                "please report this"
            )


def _check_space(bundle: Bundle, graph: str) -> None:
    """Raise OutputError before a disk is filled."""
    needed = LARGEST_GROWTH * sum(
        bundle.manifest["files"][name]["bytes"] for name in graph_files(graph)
    )
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    if free < needed:
        raise OutputError(
            f"{folder}: pre-packing {graph} may take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are "
            "free; free some, or set XDG_CACHE_HOME to another disk"
        )


def _trial(config: ModelConfig, spec: GraphSpec) -> Feeds:
    """Inputs for one call of a graph."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.standard_normal(shape, dtype=np.float32)

    if spec.name == BACKBONE:
        cache = spec.inputs[-1].dtype
        return backbone_feeds(config, normal(1, 2, config.backbone.dim), cache)
    if spec.name == FLOW:
        return {
            "hidden": normal(1, config.flow.input_dim),
            "noise": normal(1, config.codec.acoustic_dim),
            "schedule": flow_schedule("euler", 2, 1.2),
        }
    return decoder_feeds(config, np.zeros((1, 2, config.n_codebooks), dtype=np.int64))


def _same(one: ort.InferenceSession, other: ort.InferenceSession, feeds: Feeds) -> bool:
    """Whether all outputs are equal to the last bit."""
    results = zip(one.run(None, feeds), other.run(None, feeds), strict=True)
    return all(np.array_equal(a, b) for a, b in results)
