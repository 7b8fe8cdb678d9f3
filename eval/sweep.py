"""`flowvox eval --sweep`: solvers, steps, time grids and guidance intervals, jointly with recipes.

The story: the baseline speaks; on its flow head alone every setting is screened, first solvers and
grids, then guidance intervals for the best; the best of each number of evaluations are screened on
every artifact. Those with at most MOST_EVALUATIONS speak freely on the baseline, the presets among them
on every artifact, and are held against the same artifact as published ("full") and against what another
seed does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowvox import __version__
from flowvox.eval.ahead import Pool, Requests
from flowvox.eval.artifact import Artifact, open_artifact, with_sampling
from flowvox.eval.cache import Cache
from flowvox.eval.ears import Ears
from flowvox.eval.harness import check_comparable, identity_of, this_machine, versions
from flowvox.eval.measure import Measured, Measurement
from flowvox.eval.metrics import BY_ID
from flowvox.eval.statistics import Interval, Verdict, verdict
from flowvox.eval.suite_data import Suite, Utterance
from flowvox.eval.summary import noise_floor, summarize
from flowvox.eval.sweep_screen import Screen, Screened, frames_of
from flowvox.eval.sweep_settings import (
    COUNTS,
    FULL,
    controls,
    intervals_of,
    name,
    presets,
    solvers_and_grids,
)
from flowvox.schedule import Sampling

SCHEMA = 1
MOST_EVALUATIONS = 4  # of a setting that speaks
BEST = 2  # settings of each number of evaluations that get guidance intervals
DECIDING = ("wer", "similarity", "mos", "not_ended", "early_stop")

Progress = Callable[[int, int], None]
Found = dict[Sampling, Screened]


def sweep(
    bundles: list[Path],
    baseline: Path,
    suite: Suite,
    *,
    cache: Cache,
    ears: Ears,
    command: list[str],
    jobs: int = 1,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """The content of sweep.json (flowvox.eval.sweep_table shows it). Paths and jobs as in `evaluate`.

    Raises FlowvoxError if an artifact does not open, or is not of the baseline's model.
    """
    first = with_sampling(open_artifact(baseline), FULL)
    others = [path for path in dict.fromkeys(bundles) if path != baseline]
    runner = _Sweep(suite, first, cache, ears, jobs, progress, 1 + len(others))
    reports = [identity_of(first) | runner.baseline_report()]
    for path in others:  # at most two are in memory: the baseline and the one at hand
        artifact = with_sampling(open_artifact(path), FULL)
        check_comparable(artifact, first)
        reports.append(identity_of(artifact) | runner.report(artifact))
    return {
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
            "sentences": len({u.sentence.id for u in runner.said}),
            "seeds": list(suite.seeds),
            "utterances": len(runner.said),
        },
        "not_measured": {key: why for key, why in ears.missing.items() if key in DECIDING},
        "noise_floor": {key: row for key, row in runner.floor.items() if key in DECIDING},
        "artifacts": reports,
    }


class _Sweep:
    """The baseline's speech and noise floor, and the settings that are left after its screening."""

    def __init__(
        self,
        suite: Suite,
        baseline: Artifact,
        cache: Cache,
        ears: Ears,
        jobs: int,
        progress: Progress,
        artifacts: int,
    ) -> None:
        self._suite, self._baseline, self._cache = suite, baseline, cache
        # What is spoken goes through the free-running level of `flowvox eval`, and no other.
        limits = replace(suite.limits, teacher_forced=0, codec=0, speed=0)
        opinions = {key: model for key, model in ears.opinions.items() if key in DECIDING}
        few = replace(ears, opinions=opinions)
        self._measurement = Measurement(
            replace(suite, limits=limits), baseline, cache, few, self._tick
        )
        self._pool = Pool(suite, cache, few, jobs)
        self.floor: dict[str, Any] = {}
        self._progress, self._done = progress, 0
        rounds = 1 + artifacts * (2 + MOST_EVALUATIONS)  # about
        self._total = len(solvers_and_grids()) + self._measurement.steps(rounds)

    @property
    def said(self) -> Sequence[Utterance]:
        """What every setting says."""
        return self._measurement.part("free_running")

    def baseline_report(self) -> dict[str, Any]:
        """All settings; those of the other artifacts are chosen from them."""
        said = self._measurement.spoken_by_baseline
        self._pool.speak([Requests(self._baseline.path, FULL, said)], lambda: None)
        measured = self._measurement.measure(self._baseline)
        self.floor = noise_floor(self._measurement.floor, measured)
        screen = self._screen(self._baseline)
        self._full = screen.full
        found = self._screened(screen, solvers_and_grids())
        best = [setting for count in COUNTS for setting in _best(found, count)[:BEST]]
        found |= self._screened(screen, intervals_of(best))
        best = [_best(found, count)[0] for count in COUNTS]
        self._kept = list(dict.fromkeys([*best, *controls()]))
        self._speakers = [
            setting
            for setting in dict.fromkeys([*best, *presets(), replace(FULL, steps=MOST_EVALUATIONS)])
            if setting.evaluations <= MOST_EVALUATIONS
        ]
        found |= self._screened(screen, self._kept)
        return self._report(self._baseline, screen, found, measured)

    def report(self, artifact: Artifact) -> dict[str, Any]:
        """Another artifact, with the settings that are left."""
        self._ahead(artifact, [FULL])
        measured = self._measurement.measure(artifact)
        screen = self._screen(artifact)
        screen.baseline_full = self._full
        return self._report(artifact, screen, self._screened(screen, self._kept), measured)

    def _report(
        self, artifact: Artifact, screen: Screen, found: Found, full: Measured
    ) -> dict[str, Any]:
        speakers = self._speakers
        if artifact is not self._baseline:
            speakers = [setting for setting in speakers if setting in presets()]
        self._ahead(artifact, speakers)
        spoken = [_spoken(FULL, full, full, self.floor)]
        for setting in speakers:
            measured = self._measurement.measure(with_sampling(artifact, setting))
            spoken.append(_spoken(setting, measured, full, self.floor))
        rows = sorted(found.items(), key=lambda row: (row[0].evaluations, -row[1].same_level.value))
        return {
            "frames": len(screen.full),
            "another_seed": screen.of_another_seed().to_dict(),
            "screened": [_setting(setting) | result.to_dict() for setting, result in rows],
            "spoken": spoken,
        }

    def _ahead(self, artifact: Artifact, settings: Iterable[Sampling]) -> None:
        requests = [Requests(artifact.path, setting, self.said) for setting in settings]
        self._pool.speak(requests, lambda: None)

    def _screen(self, artifact: Artifact) -> Screen:
        """Over what the baseline said with the first seed."""
        measurement, limits = self._measurement, self._suite.limits
        said = [
            (utterance, measurement.spoken[utterance.key])
            for utterance in measurement.part("free_running")
            if utterance.seed == self._suite.seeds[0] and utterance.key in measurement.spoken
        ]
        if limits.teacher_forced != "all":
            said = said[: limits.teacher_forced]
        frames = frames_of(artifact, said, limits.frames, measurement.floor_seed, self._cache)
        return Screen(artifact, frames, self._cache)

    def _screened(self, screen: Screen, settings: Iterable[Sampling]) -> Found:
        found = {}
        for setting in settings:
            found[setting] = screen.of(setting)
            self._tick()
        return found

    def _tick(self) -> None:
        self._done += 1
        self._progress(self._done, max(self._done, self._total))


def _best(found: Found, evaluations: int) -> list[Sampling]:
    """Those with so many evaluations, the one that agrees most with full first."""
    some = [setting for setting in found if setting.evaluations == evaluations]
    return sorted(some, key=lambda setting: -found[setting].same_level.value)


def _setting(setting: Sampling) -> dict[str, Any]:
    return {"name": name(setting), "evaluations": setting.evaluations} | asdict(setting)


def _spoken(
    setting: Sampling, measured: Measured, full: Measured, floor: dict[str, Any]
) -> dict[str, Any]:
    """The free-running figures of a setting, against full of the same artifact."""
    summary = summarize(measured, full)
    rows, verdicts = {}, []
    for key in DECIDING:
        row = summary[key]
        if row["n"] and key in floor:
            row["verdict"] = within_floor(key, row, floor[key])
            verdicts.append(row["verdict"])
            rows[key] = row
    worst = "fail" if "fail" in verdicts else "unsure" if "unsure" in verdicts else "pass"
    return _setting(setting) | {
        "rows": rows,
        "verdict": worst if verdicts else "not measured",
        "failures": measured.failures,
    }


def within_floor(metric: str, row: dict[str, Any], floor: dict[str, Any]) -> Verdict:
    """Whether a difference to full is not more than what another seed may do.

    row: delta, low, high, n; floor: mean, low, high. The floor has no direction, since which of two
    seeds is the other is arbitrary: the margin is the larger end of its interval. "pass" if even the
    bad end of the difference's is inside, "fail" if even the good end is not.
    """
    low, high = (row[end] if row[end] is not None else row["delta"] for end in ("low", "high"))
    margin = max(abs(floor[end] or 0.0) for end in ("low", "high"))
    return verdict(Interval(row["delta"], low, high, row["n"]), BY_ID[metric].better, margin)
