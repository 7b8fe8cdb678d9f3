"""Speed, memory and load time of several artifacts, interleaved in one run.

The machine's speed drifts, so each sentence is spoken by every artifact in turn, each in a process of
its own, and what counts is the ratio to the baseline within the run.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flowvox.errors import FlowvoxError
from flowvox.eval.artifact import artifact_bytes
from flowvox.machine import cores, cpu_name, energy_joules, spent_joules

SENTENCES = (
    "The first train of the morning leaves before sunrise.",
    "She wrote the whole letter without lifting her pen.",
    "Nobody at the table could remember the name of the song.",
    "A warm wind came up from the valley and dried the grass.",
    "Please leave the keys with the woman at the front desk.",
)
MAX_SECONDS = 8.0
NOISY_SPREAD = 0.25  # p95 over median beyond 1 + this marks a run as noisy


@dataclass
class Worker:
    """A running process that measures one artifact, and what it has answered."""

    path: Path
    process: subprocess.Popen[str]
    ready: dict[str, Any]
    answers: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        path: Path,
        threads: int,
        module: str = "bench_worker",
        environment: Mapping[str, str] | None = None,
    ) -> Worker:
        """Run `flowvox.eval.<module>`. Raises FlowvoxError if the artifact does not load."""
        command = [sys.executable, "-m", f"flowvox.eval.{module}", str(path), str(threads)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
        )
        return cls(path, process, cls._answer(path, process))

    def ask(self, request: Any) -> dict[str, Any]:
        """Send one request and wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer(self.path, self.process)

    @staticmethod
    def _answer(path: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            reason = (process.stderr.read().strip().splitlines() or ["it stopped"])[-1]
            raise FlowvoxError(f"{path}: cannot be measured ({reason})")
        return dict(json.loads(line))

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def run_bench(
    paths: list[Path],
    *,
    sentences: Sequence[str] = SENTENCES,
    rounds: int = 3,
    threads: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Measure artifacts; the first is the baseline of `speedup`.

    Every artifact speaks every sentence `rounds` times, after one warm-up that does not count.
    """
    threads = threads or cores()
    workers: list[Worker] = []
    try:
        for path in paths:
            workers.append(Worker.start(path, threads))
        requests = [
            {
                "text": text,
                "voice": workers[0].ready["voices"][0],
                "seed": k,
                "max_seconds": MAX_SECONDS,
            }
            for k in range(rounds)
            for text in sentences
        ]
        total = len(workers) * (len(requests) + 1)
        done = 0
        for index, request in enumerate([requests[0], *requests]):
            for worker in workers:
                before = energy_joules()
                answer = worker.ask(request)
                answer["joules"] = spent_joules(before, energy_joules())
                if index and answer["frames"]:
                    worker.answers.append(answer | {"request": index})
                done += 1
                report(done, total)
    finally:
        for worker in workers:
            worker.stop()
    runs = [_summary(worker, workers[0]) for worker in workers]
    return {"runs": runs, "machine": machine(threads)}


def _summary(worker: Worker, baseline: Worker) -> dict[str, Any]:
    if not worker.answers:
        raise FlowvoxError(f"{worker.path}: said nothing in any utterance; it cannot be measured")
    rtf = [a["compute_seconds"] / a["audio_seconds"] for a in worker.answers]
    joules = [a["joules"] for a in worker.answers]
    audio = sum(a["audio_seconds"] for a in worker.answers)
    base = [a["compute_seconds"] / a["audio_seconds"] for a in baseline.answers]
    frames = sum(a["frames"] for a in worker.answers)
    stages = {
        name: 1000 * sum(a["stages"][name] for a in worker.answers) / frames
        for name in worker.answers[0]["stages"]
    }
    median, p95 = statistics.median(rtf), float(np.percentile(rtf, 95))
    return {
        "bundle": str(worker.path),
        "rtf": {"median": median, "p95": p95},
        "rtf_of_requests": {a["request"]: x for a, x in zip(worker.answers, rtf, strict=True)},
        "joules_per_audio_second": None if None in joules else sum(joules) / audio,
        "speedup": statistics.median(base) / median,
        "noisy": p95 > (1 + NOISY_SPREAD) * median,
        "ms_per_frame": stages,
        "first_audio_seconds": statistics.median(a["first_audio_seconds"] for a in worker.answers),
        "load_seconds": worker.ready["load_seconds"],
        "peak_rss_bytes": max(a["peak_rss_bytes"] for a in worker.answers),
        "bytes": artifact_bytes(worker.path),
        "utterances": len(worker.answers),
    }


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    import onnxruntime as ort

    return {
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": platform.platform(),
        "onnxruntime": ort.__version__,
    }
