"""Several processes speak and listen ahead; the evaluation finds what they left and nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.eval.faults import DEAF, without_speed

from flowvox.eval.ahead import most_jobs, unloaded
from flowvox.eval.artifact import BundleArtifact
from flowvox.eval.cache import Cache
from flowvox.eval.ears import Ears
from flowvox.eval.harness import evaluate
from flowvox.eval.suite_data import Limits, Sentence, Suite
from flowvox.eval.sweep import sweep

SUITE = without_speed(
    Suite(
        name="two",
        version=1,
        description="Two texts, one voice, one seed.",
        sentences=tuple(
            Sentence(f"s{k}", text, (), "all") for k, text in enumerate(("Hi.", "No?"))
        ),
        voices=("first",),
        seeds=(0,),
        limits=Limits(0.4, 5, 2, 2, 2, 0),
        sha256="0" * 64,
    )
)


def figures(report: dict[str, Any]) -> list[Any]:
    return [(b["recipe"], b["rows"], b["utterances"], b["failures"]) for b in report["bundles"]]


def test_the_report_is_the_same_and_the_main_process_speaks_nothing(
    micro_bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(jobs: int, cache: str) -> dict[str, Any]:
        return evaluate(
            [micro_bundles["int4"]], micro_bundles["fp16"], SUITE,
            cache=Cache(tmp_path / cache), ears=DEAF, command=[], jobs=jobs,
        )[0]  # fmt: skip

    alone = run(1, "alone")

    def silent(*arguments: object) -> None:
        pytest.fail("another process should have spoken")

    monkeypatch.setattr(BundleArtifact, "speak", silent)
    assert figures(run(2, "together")) == figures(alone)


def test_progress_comes_to_its_end(micro_bundles: dict[str, Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    evaluate([micro_bundles["int4"]], micro_bundles["fp16"], SUITE, cache=Cache(tmp_path), ears=DEAF,
             command=[], jobs=2, progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_settings_of_a_sweep_are_spoken_ahead_too(
    micro_bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowvox.eval.statistics.RESAMPLES", 20)

    def silent(*arguments: object) -> None:
        pytest.fail("another process should have spoken")

    monkeypatch.setattr(BundleArtifact, "speak", silent)
    found = sweep(
        [], micro_bundles["fp32"], SUITE, cache=Cache(tmp_path), ears=DEAF, command=[], jobs=2
    )
    assert {tuple(row["failures"]) for row in found["artifacts"][0]["spoken"]} == {()}


def test_what_fails_there_is_reported_here(micro_bundles: dict[str, Path], tmp_path: Path) -> None:
    stranger = replace(SUITE, sentences=(replace(SUITE.sentences[0], text=""),))
    report, _ = evaluate(
        [], micro_bundles["fp16"], stranger, cache=Cache(tmp_path), ears=DEAF, command=[], jobs=2
    )
    assert {failure["utterance"] for failure in report["bundles"][0]["failures"]} == {"s0/first/0"}


def test_listeners_travel_without_what_they_have_loaded() -> None:
    ears = Ears.open()
    if ears.speaker is None:
        pytest.skip("needs the eval extra")
    vars(ears.speaker)["_layers"] = "weights"
    assert "_layers" not in vars(unloaded(ears).speaker)
    assert "_layers" in vars(ears.speaker)
    assert unloaded(ears).names == ears.names


def test_there_is_always_one() -> None:
    assert most_jobs() >= 1


ABANDONED = """
import multiprocessing, sys, threading, time
from pathlib import Path
from tests.eval.faults import DEAF
from tests.eval.test_ahead import SUITE
from flowvox.eval.ahead import Pool
from flowvox.eval.cache import Cache

def tell():
    while len(children := multiprocessing.active_children()) < 2:
        time.sleep(0.05)
    time.sleep(1)
    print(*(child.pid for child in children), flush=True)

if __name__ == "__main__":
    threading.Thread(target=tell).start()
    Pool(SUITE, Cache(Path(sys.argv[1])), DEAF, 2)._run(time.sleep, [(60,), (60,)], print)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_workers_end_with_an_evaluation_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, script, tmp_path], stdout=subprocess.PIPE, env=environment, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [Path("/proc", pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        parent.kill()
    until = time.monotonic() + 20
    while time.monotonic() < until and any(map(running, workers)):
        time.sleep(0.1)
    assert not any(map(running, workers))


def running(process: Path) -> bool:
    """Not ended, and not a zombie that nobody has waited for."""
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
