"""How close a bundle's backbone comes to what the memory allows, and to llama.cpp.

One position at a time, a backbone reads all of its weights, and nothing can be quicker than reading
them. In turns, within one run: a probe that only reads, the backbone of the bundle, and llama.cpp with
a `llama` file of the same shape and as many bits (made-up weights), each in a process of its own.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flowvox.bundle import Bundle
from flowvox.eval.bench import Worker, machine
from flowvox.eval.probe import read_bandwidth
from flowvox.graphs import BACKBONE
from flowvox.machine import cores
from flowvox.planner.formats import read_on_cpu
from flowvox.planner.work import frame_products
from flowvox.recipe import Recipe
from flowvox.runtime.prepacked import find_prepacked

PEER, PEER_FORMAT = "llama-cpp-python", "q4_0"  # blocks of 32 with float16 scales, as int4 has them
PEER_MISSING = f"not compared with llama.cpp: pip install {PEER} (it compiles), and flowvox[gguf]"
STEPS = 8
WORKER = "step_worker"
# OpenMP's own defaults: how its threads wait decides on llama.cpp's speed.
TUNING = ("OMP_", "KMP_", "GOMP_")


def bench_limit(
    path: Path,
    *,
    rounds: int,
    threads: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Medians over `rounds` of bandwidth and milliseconds a position; ratios within each round.

    best_ms: of the quickest round; share: of the bandwidth, by the bytes that the bundle stores;
    read_share: by those that onnxruntime's kernels read, read_bytes. best_share, best_read_share: of
    the round in which they were highest. processor_ms: processor time of a position divided among
    the threads, which neighbours hardly add to. `llama_cpp` is None where it is not installed; its
    ratio is its time over ours. Raises FlowvoxError.
    """
    threads = threads or cores()
    bundle = Bundle.open(path, verify=False)
    stored = int(bundle.manifest["components"][BACKBONE]["bytes"])
    read = _read_bytes(bundle)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(TUNING)}
    bandwidth, ours, processor, theirs = [], [], [], []
    with TemporaryDirectory() as folder:
        peer_file = _peer_file(bundle, Path(folder))
        workers = [Worker.start(path, threads, WORKER, environment)]
        try:
            if peer_file is not None:
                workers.append(Worker.start(peer_file, threads, WORKER, environment))
            for done in range(rounds + 1):  # the first warms up
                report(done, rounds + 1)
                speed = read_bandwidth(threads)
                answers = [worker.ask(STEPS) for worker in workers]
                if done:
                    times = [statistics.median(answer["ms"]) for answer in answers]
                    bandwidth.append(speed)
                    ours.append(times[0])
                    processor.append(statistics.median(answers[0]["processor_ms"]) / threads)
                    theirs += times[1:]
            report(rounds + 1, rounds + 1)
        finally:
            for worker in workers:
                worker.stop()
    shares = [stored / ms / 1e6 / speed for ms, speed in zip(ours, bandwidth, strict=True)]
    return {
        "bundle": str(path),
        "bandwidth_gb_s": statistics.median(bandwidth),
        "backbone": {
            "bytes": stored,
            "ms": statistics.median(ours),
            "best_ms": min(ours),
            "gb_s": stored / statistics.median(ours) / 1e6,
            "share": statistics.median(shares),
            "best_share": max(shares),
            "processor_ms": statistics.median(processor),
            "read_bytes": read,
            "read_share": statistics.median(shares) * read / stored,
            "best_read_share": max(shares) * read / stored,
            "load_seconds": workers[0].ready["load_seconds"],
            "memory": answers[0]["memory"],
            "prepacked": find_prepacked(bundle, BACKBONE) is not None,
        },
        "llama_cpp": None
        if not theirs
        else {
            "version": version(PEER),
            "format": PEER_FORMAT,
            "ms": statistics.median(theirs),
            "best_ms": min(theirs),
            "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
            "load_seconds": workers[1].ready["load_seconds"],
            "memory": answers[1]["memory"],
        },
        "rounds": rounds,
        "machine": machine(threads),
    }


def _read_bytes(bundle: Bundle) -> int:
    """What the kernels read of the backbone's matrices for one position."""
    recipe = Recipe.from_dict(bundle.manifest["recipe"], str(bundle.path))
    products = frame_products(bundle.config, recipe, 1)
    return round(sum(p.weights * read_on_cpu(p.rule) for p in products if p.stage == BACKBONE))


def _peer_file(bundle: Bundle, folder: Path) -> Path | None:
    """The file for llama.cpp; None where it, or what writes GGUF files, is not installed."""
    try:
        version(PEER)
    except PackageNotFoundError:
        return None
    if find_spec("gguf") is None:
        return None
    from flowvox.exporters.gguf.synthetic import write_synthetic_backbone

    file = folder / "backbone.gguf"
    write_synthetic_backbone(bundle.config, PEER_FORMAT, file)
    return file
