"""report.json: what an evaluation measured, with everything needed to redo it.

Numbers stand in the unit that their metric names. Two units are rendered in another one: "fraction"
(0.125 is shown as 12.5 %) and "bytes" (shown as kB, MB or GB). A number that could not be had is
null. `delta` is the bundle minus the baseline on the same utterances; `low` and `high` bound it by a
95 % paired bootstrap interval.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypedDict,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from flowvox.errors import FlowvoxError

SCHEMA = 1

Number = float | None
Level = Literal["teacher-forced", "codec", "free-running", "speed", "size"]
Verdict = Literal["pass", "fail", "unsure", "no margin", "not measured"]


class ReportError(FlowvoxError):
    """report.json is not one, is of another version, or contradicts itself."""


class Machine(TypedDict):
    """Where it ran; further keys may say more."""

    cpu: str
    cores: int
    memory_bytes: int | None
    platform: str


class Part(TypedDict, total=False):
    """How much of a suite was spoken freely; older reports do not say."""

    utterances: int


class Suite(Part):
    """What was spoken: sentences with voices and seeds, all of them or the first utterances."""

    name: str
    version: int | str
    sha256: str
    sentences: int
    voices: list[str]
    seeds: list[int]


class Artifact(TypedDict):
    """Which bundle, by content."""

    name: str
    path: str
    sha256: str
    recipe: str


class Metric(TypedDict):
    """What a row means. `margin` is how much worse than the baseline a bundle may be, in `unit`."""

    level: Level
    title: str
    unit: str
    better: Literal["higher", "lower", "none"]
    margin: Number
    explanation: str


class NoiseFloor(TypedDict):
    """The baseline against itself: delta between two of its seeds."""

    mean: Number
    low: Number
    high: Number
    n: int


class Row(TypedDict):
    """One metric of one bundle over `n` utterances."""

    value: Number
    baseline: Number
    delta: Number
    low: Number
    high: Number
    n: int
    verdict: Verdict


class Component(TypedDict):
    """What a part of the model takes on disk."""

    bytes: int
    parameters: int
    bits_per_weight: Number


class Layers(TypedDict, total=False):
    """Relative error after each layer, first layer first."""

    backbone: list[Number]
    flow: list[Number]
    codec: list[Number]


class BoundaryDistance(TypedDict):
    """Counts of FSQ values by distance to the nearest rounding boundary, in levels.

    `edges` has one more entry than the others. `baseline` counts all values of the baseline,
    `flipped` those that the bundle rounds to another level.
    """

    edges: list[float]
    baseline: list[Number]
    flipped: list[Number]


class Curves(TypedDict, total=False):
    """Errors resolved along one axis; agreement per codebook is a fraction."""

    velocity_error_per_step: list[Number]
    error_per_layer: Layers
    fsq_agreement_per_codebook: list[Number]
    boundary_distance: BoundaryDistance


class Rtf(TypedDict):
    """Compute time over audio time."""

    median: Number
    p95: Number


class Ratio(TypedDict):
    """Bundle over baseline, with its interval; below 1 is faster."""

    median: Number
    low: Number
    high: Number


class Speed(TypedDict):
    """Measured interleaved with the baseline; `noisy` where the spread forbids conclusions."""

    rtf: Rtf
    rtf_ratio: Ratio | None
    first_audio_seconds: Number
    load_seconds: Number
    peak_rss_bytes: Number
    ms_per_frame: dict[str, Number]
    noisy: bool
    joules_per_audio_second: Number


class Utterance(TypedDict):
    """One request and what came of it. Error rates are fractions; `audio` is a FLAC's relative path."""

    id: str
    text: str
    voice: str
    seed: int
    wer: Number
    cer: Number
    similarity: Number
    mos: Number
    seconds: Number
    heard: str | None
    ended: bool
    audio: str | None
    spectrogram: str | None


class Failure(TypedDict):
    """An utterance that could not be measured."""

    utterance: str
    error: str


class BundleReport(Artifact):
    """Everything about one bundle."""

    is_baseline: bool
    bytes: int
    components: dict[str, Component]
    rows: dict[str, Row]
    curves: Curves
    speed: Speed | None
    utterances: list[Utterance]
    failures: list[Failure]


class Report(TypedDict):
    """The whole file. `not_measured` says of a metric why it is missing and what would mend it."""

    schema: int
    created: str
    flowvox: str
    command: list[str]
    machine: Machine
    versions: dict[str, str]
    suite: Suite
    baseline: Artifact
    metrics: dict[str, Metric]
    not_measured: dict[str, str]
    noise_floor: dict[str, NoiseFloor]
    bundles: list[BundleReport]


def read_report(path: Path) -> Report:
    """The report in a file. Raises ReportError with the file's name."""
    try:
        return validate(json.loads(path.read_text(encoding="utf-8")))
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise ReportError(f"{path}: cannot be read ({reason}); name a report.json") from error


def validate(report: object) -> Report:
    """The same report, checked key by key, with null in place of NaN and infinity.

    Keys that the schema does not know may be there too. Raises ReportError that names the place.
    """
    if not isinstance(report, dict) or not isinstance(report.get("schema"), int):
        raise ReportError("not a report (no schema number); flowvox eval writes report.json")
    version = report["schema"]
    if version != SCHEMA:
        mend = "update flowvox" if version > SCHEMA else "run flowvox eval again"
        raise ReportError(f"a report of schema {version}, this flowvox reads {SCHEMA}; {mend}")
    _check(report, Report, "")
    checked = cast(Report, _finite(report))
    if sum(bundle["is_baseline"] for bundle in checked["bundles"]) > 1:
        raise ReportError("bundles: more than one is the baseline")
    for bundle in checked["bundles"]:
        if unknown := sorted(set(bundle["rows"]) - set(checked["metrics"])):
            raise ReportError(f"{bundle['name']}: row {unknown[0]!r} is not among the metrics")
        distance = bundle["curves"].get("boundary_distance")
        if distance and not (
            len(distance["edges"]) - 1 == len(distance["baseline"]) == len(distance["flipped"])
        ):
            raise ReportError(f"{bundle['name']}: boundary_distance: edges and counts do not fit")
    return checked


def _check(value: object, shape: Any, where: str) -> None:
    """Compare a JSON value with a TypedDict, list, dict, Literal, union with None, or plain type."""
    origin, arguments = get_origin(shape), get_args(shape)
    if is_typeddict(shape):
        _expect(isinstance(value, dict), where, "an object")
        for key, inner in get_type_hints(shape).items():
            if key in cast(dict[str, object], value):
                _check(cast(dict[str, object], value)[key], inner, f"{where}.{key}")
            else:
                _expect(key not in shape.__required_keys__, f"{where}.{key}", "there")
    elif origin is UnionType:
        if not (value is None and NoneType in arguments):
            kinds = [kind for kind in arguments if kind is not NoneType]
            _check(value, str if str in kinds and isinstance(value, str) else kinds[0], where)
    elif origin is Literal:
        _expect(value in arguments, where, "one of " + ", ".join(map(repr, arguments)))
    elif origin is list:
        _expect(isinstance(value, list), where, "a list")
        for index, item in enumerate(cast(list[object], value)):
            _check(item, arguments[0], f"{where}[{index}]")
    elif origin is dict:
        _expect(isinstance(value, dict), where, "an object")
        for key, item in cast(dict[str, object], value).items():
            _check(item, arguments[1], f"{where}.{key}")
    else:
        plain = (int, float) if shape is float else (shape,)
        right = isinstance(value, plain) and isinstance(value, bool) == (shape is bool)
        _expect(right, where, {str: "a text", bool: "true or false"}.get(shape, "a number"))


def _expect(right: bool, where: str, what: str) -> None:
    if not right:
        raise ReportError(f"{where.lstrip('.')}: must be {what}; flowvox eval writes it so")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
