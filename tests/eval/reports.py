"""Reports of a few metrics, as an evaluation could have written them, to be judged."""

from __future__ import annotations

from typing import Any

from flowvox.eval.metrics import BY_ID
from flowvox.eval.report.schema import Report, validate
from flowvox.eval.statistics import Interval
from flowvox.eval.summary import judged

SHOWN = ("kld_mean", "same_top_p", "codec_snr", "wer", "early_stop", "duration_ratio", "rtf_ratio")
# (low, delta, high) of a bundle that lost a little.
LITTLE = {
    "kld_mean": (0.01, 0.02, 0.03),
    "same_top_p": (-0.05, -0.03, -0.01),
    "codec_snr": (-80.0, -75.0, -70.0),
    "wer": (-0.02, 0.0, 0.02),
    "early_stop": (0.0, 0.0, 0.0),
    "duration_ratio": (-0.1, 0.0, 0.1),
    "rtf_ratio": (-0.5, -0.4, -0.3),
}
UNMEASURED = dict.fromkeys(("value", "baseline", "delta", "low", "high")) | {
    "n": 0, "verdict": "not measured",
}  # fmt: skip


def row(metric: str, low: float, delta: float, high: float, n: int = 16) -> dict[str, Any]:
    """A row of the report with this interval; infinite ends become null."""
    return judged(BY_ID[metric], delta, Interval(delta, low, high, n), 0.0)


def bundle(recipe: str, size: int = 1000, **rows: dict[str, Any]) -> dict[str, Any]:
    """A bundle that lost a little, but for the rows given."""
    baseline = recipe == "fp16"
    little = {name: row(name, *((0.0,) * 3 if baseline else LITTLE[name])) for name in SHOWN}
    return {
        "name": f"tiny-{recipe}", "path": f"artifacts/tiny-{recipe}", "sha256": "ab" * 32,
        "recipe": recipe, "is_baseline": baseline, "bytes": size, "components": {}, "curves": {},
        "rows": little | rows, "speed": None, "utterances": [], "failures": [],
    }  # fmt: skip


def report(*bundles: dict[str, Any], **changes: Any) -> Report:
    """A valid report of a baseline fp16 and `bundles`; `changes` replaces top-level entries."""
    everything = [bundle("fp16", 3000), *bundles]
    known = ("level", "title", "unit", "better", "margin", "explanation")
    content = {
        "schema": 1,
        "created": "2026-11-25T12:00:00+00:00",
        "flowvox": "0.1.0",
        "command": ["flowvox", "eval"],
        "machine": {"cpu": "", "cores": 2, "memory_bytes": None, "platform": ""},
        "versions": {},
        "suite": {"name": "smoke", "version": 1, "sha256": "", "sentences": 8, "voices": [], "seeds": [0]},
        "model": {"source_sha256": "cd" * 32},
        "baseline": {key: everything[0][key] for key in ("name", "path", "sha256", "recipe")},
        "metrics": {name: {key: getattr(BY_ID[name], key) for key in known} for name in SHOWN},
        "not_measured": {},
        "noise_floor": {"wer": {"mean": 0.0, "low": -0.06, "high": 0.04, "n": 8}},
        "bundles": everything,
    }  # fmt: skip
    return validate(content | changes)
