"""Calibration on disk: made once per checkpoint, found again by content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from importlib import resources
from pathlib import Path

from flowvox.config import DEFAULT_GUIDANCE, DEFAULT_STEPS
from flowvox.errors import OutputError, VoiceError
from flowvox.quantizers.calibration.sites import all_sites
from flowvox.quantizers.calibration.texts import script
from flowvox.quantizers.statistics import InputStatistics
from flowvox.source import ModelSource, Report

VERSION = 1  # of what the files mean: raise it when something else is recorded
UTTERANCES, MAX_FRAMES = 48, 60
SPEECH = "speech.npz"


def default_folder() -> Path:
    """$FLOWVOX_CACHE, else the user's cache folder."""
    if folder := os.environ.get("FLOWVOX_CACHE"):
        return Path(folder) / "calibration"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "flowvox" / "calibration"


def calibrate(
    source: ModelSource,
    source_hash: str,
    report: Report = lambda done, total: None,
    folder: Path | None = None,
) -> Calibration:
    """The calibration of a checkpoint, from `folder` or made anew where it is missing or damaged.

    `report` is told bytes of weights read. Raises VoiceError without voices, OutputError where the disk
    does not hold the statistics, CheckpointError.
    """
    place = (folder or default_folder()) / _digest(source_hash, sorted(source.voices()))
    found = Calibration(place, source)
    if not found.is_whole():
        _make(source, found, report)
    return found


class Calibration:
    """Statistics of the inputs of backbone and flow head. Call it with the name of a matrix."""

    def __init__(self, folder: Path, source: ModelSource) -> None:
        self.folder = folder
        self._sites = {
            tensor: site.name for site in all_sites(source.config) for tensor in site.tensors
        }
        self._last: tuple[str, InputStatistics] | None = None

    def __call__(self, tensor: str) -> InputStatistics:
        """The same object for consecutive matrices of a site, which share what is computed from it."""
        from flowvox.quantizers.calibration.moments import load_statistics

        site = self._sites[tensor]
        if self._last is None or self._last[0] != site:
            self._last = None  # 4B: a site's matrices are large, two at a time too much
            self._last = (site, load_statistics(self.file(site)))
        return self._last[1]

    def site(self, tensor: str) -> str:
        """What a matrix shares with those of the same inputs."""
        return self._sites[tensor]

    def file(self, site: str) -> Path:
        """Where a site's statistics lie."""
        return self.folder / f"{site}.npz"

    def is_whole(self) -> bool:
        """Whether every file is there and undamaged."""
        from flowvox.quantizers.calibration.moments import is_whole

        return all(is_whole(self.file(site)) for site in sorted(set(self._sites.values())))


def _digest(source_hash: str, voices: list[str]) -> str:
    texts = resources.files("flowvox.quantizers.calibration") / "texts.txt"
    model = [source_hash, voices, DEFAULT_STEPS, DEFAULT_GUIDANCE]
    settings = [VERSION, *model, UTTERANCES, MAX_FRAMES]
    content = json.dumps(settings).encode() + texts.read_bytes()
    return hashlib.sha256(content).hexdigest()[:32]


def _make(source: ModelSource, found: Calibration, report: Report) -> None:
    from flowvox.quantizers.calibration.record import collect, speak
    from flowvox.quantizers.calibration.speech import load_speech, save_speech
    from flowvox.reference.streamed import load_part, streamed_model
    from flowvox.tensors import FLOW

    if not source.voices():
        raise VoiceError(f"{source.path}: has no voices; calibration speaks in them")
    found.folder.mkdir(parents=True, exist_ok=True)
    _check_room(found.folder, source)
    done = 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        report(done, max(total, done))

    total = sum(source.stored_bytes(name) for name in source.shapes) * (MAX_FRAMES // 2)
    model = streamed_model(source, read)
    load_part(model.flow, FLOW, source)
    lines, speech = script(source.voices(), UTTERANCES), found.folder / SPEECH
    spoken = load_speech(speech, lines)
    if spoken is None:  # the longer half of the work: an interrupted calibration goes on from here
        spoken = speak(model, source, lines, MAX_FRAMES)
        save_speech(speech, spoken)
    collect(model, source, spoken, lambda name, moments: moments.save(found.file(name)))
    report(total, total)


def _check_room(folder: Path, source: ModelSource) -> None:
    shapes = source.shapes
    needed = sum(2 * shapes[site.tensors[0]][1] ** 2 for site in all_sites(source.config))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder}: calibration takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "name another place with FLOWVOX_CACHE"
        )
