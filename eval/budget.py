"""budget.yaml: what a release may cost, per recipe; and how to find figures that mean something.

    version: 1
    suite: smoke               # of the reports this was calibrated on
    baseline: fp16             # recipe of the baseline
    recipes:
      int4:
        max_bytes: 19200000
        max_rtf_ratio: 1.3     # compute time per audio second, over the baseline's in the same run
        margins: {kld_mean: 0.07, same_top_p: 0.34, wer: 0.12}

A margin is how much worse than the baseline a metric may be, in the metric's unit: the bad end of its
interval counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flowvox.errors import FlowvoxError
from flowvox.eval.report.schema import BundleReport, Report

VERSION = 1
KEYS = {"version", "suite", "baseline", "recipes"}
RECIPE_KEYS = {"max_bytes", "max_rtf_ratio", "margins"}
SLACK = 0.5  # of the worst bad end seen: other processors sum in another order
SLACK_DB = 20 * math.log10(1 + SLACK)  # the same, of what is measured down from 120 dB
SPEED_SLACK, SIZE_SLACK = 0.35, 0.02
UNLIMITED = 1e18  # no size, time or distance: a limit from here on would limit nothing
BEYOND_BUDGET = ("speed", "size")  # levels that have limits of their own
# One yes or no an utterance. None among n still allows 3/n (Hanley and Lippman-Hand 1983, "If nothing
# goes wrong, is everything all right?"), and a margin of zero would be red at the first.
RATES = ("missed_end", "not_ended", "early_stop", "long_silence", "clipped", "silent")
# The least margin of other metrics: some frames and codes may flip, and what other processors sum in
# another order is no loss.
LEAST = {
    "false_end": 0.01, "fsq_exact": 0.005, "fsq_within_one": 0.002, "same_top_p": 0.01,
    "baseline_rank": 0.01, "rms_delta_p": 0.002, "kld_mean": 1e-4, "kld_median": 1e-4,
    "kld_p99": 1e-3, "kld_max": 1e-2, "hidden_error": 0.002, "velocity_error": 0.002,
    "codec_log_mel": 0.05, "codec_stft": 0.01, "codec_pesq": 0.02, "codec_stoi": 0.001,
    "codec_silence": 0.5, "codec_clipped": 1e-4,
}  # fmt: skip


class BudgetError(FlowvoxError):
    """The budget is malformed, or does not fit the report."""


@dataclass(frozen=True)
class Budget:
    """Limits of one recipe; None: no limit."""

    max_bytes: int | None
    max_rtf_ratio: float | None
    margins: dict[str, float]


@dataclass(frozen=True)
class Budgets:
    """A parsed budget.yaml."""

    suite: str
    baseline: str
    recipes: dict[str, Budget]


def read_budgets(path: Path) -> Budgets:
    """Raises BudgetError in one line that names the key."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BudgetError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError):
        # PyYAML lets the errors of its conversions through: a date of month 13, `!!bool maybe`.
        raise BudgetError(f"{path}: cannot be read (it is not YAML)") from None
    version = data.get("version") if isinstance(data, dict) else None
    if type(version) is not int or version != VERSION:
        raise BudgetError(f"{path}: not a budget of version {VERSION}; see docs/gate.md")
    _only(data, KEYS, f"{path}")
    recipes = data.get("recipes")
    if not isinstance(recipes, dict) or not recipes:
        raise BudgetError(f"{path}: recipes: must name at least one recipe")
    return Budgets(
        _text(data, "suite", path),
        _text(data, "baseline", path),
        {str(name): _budget(value, f"{path}: {_shown(name)}") for name, value in recipes.items()},
    )


def _budget(data: Any, where: str) -> Budget:
    if not isinstance(data, dict):
        raise BudgetError(f"{where}: must be a mapping of limits")
    _only(data, RECIPE_KEYS, where)
    margins = data.get("margins", {})
    if not isinstance(margins, dict):
        raise BudgetError(f"{where}: margins: must map metrics to numbers")
    numbers = [(f"margins.{_shown(name)}", value) for name, value in margins.items()]
    numbers += [(key, data[key]) for key in ("max_bytes", "max_rtf_ratio") if key in data]
    for name, value in numbers:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < UNLIMITED:  # NaN neither
            raise BudgetError(f"{where}: {name}: must be a number, 0 or more, and finite")
    return Budget(
        int(data["max_bytes"]) if "max_bytes" in data else None,
        data.get("max_rtf_ratio"),
        {str(name): float(value) for name, value in margins.items()},
    )


def _only(data: dict[Any, Any], known: set[str], where: str) -> None:
    if unknown := sorted(str(key) for key in set(data) - known):
        raise BudgetError(
            f"{where}: {_shown(unknown[0])}: no such key; known are {', '.join(sorted(known))}"
        )


def _shown(name: object) -> str:
    """A key in a message of one line."""
    text = str(name)
    return text if text.isprintable() else repr(text)


def _text(data: dict[str, Any], key: str, path: Path) -> str:
    if not isinstance(data.get(key), str):
        raise BudgetError(f"{path}: {key}: must be a name")
    return str(data[key])


def calibrate(reports: Sequence[Report]) -> dict[str, Any]:
    """The content of a budget.yaml that all these reports pass with some slack.

    Teacher-forced and codec metrics repeat nearly exactly, so their margin is the worst bad end seen,
    plus SLACK. Free-running ones are chance in part: their margin is no smaller than what the baseline
    differs from itself with another seed. Raises BudgetError if the reports are not of one kind, or
    could not pass any budget: without bundles, with failed utterances, with gaps.
    """
    first = reports[0]
    recipes_of = [{b["recipe"] for b in r["bundles"] if not b["is_baseline"]} for r in reports]
    if not recipes_of[0] or any(found != recipes_of[0] for found in recipes_of):
        raise BudgetError("each report needs the same recipes, at least one beside the baseline")
    for report in reports:
        for what in ("suite", "baseline"):
            keys = ("name", "version") if what == "suite" else ("recipe",)
            if any(report[what][key] != first[what][key] for key in keys):  # type: ignore[literal-required]
                raise BudgetError(
                    f"the reports differ in their {what}; calibrate on one kind of run"
                )
    recipes: dict[str, Any] = {}
    for recipe in sorted(recipes_of[0]):
        found = [(r, b) for r in reports for b in r["bundles"] if b["recipe"] == recipe]
        ratios = [
            1 + bad for _, b in found if (bad := bad_end(b, "rtf_ratio", "lower")) is not None
        ]
        recipes[recipe] = {"max_bytes": _round_up(max(b["bytes"] for _, b in found), SIZE_SLACK)}
        if ratios:
            recipes[recipe]["max_rtf_ratio"] = round(max(ratios) * (1 + SPEED_SLACK), 2)
        recipes[recipe]["margins"] = _margins(found)
    return {
        "version": VERSION,
        "suite": first["suite"]["name"],
        "baseline": first["baseline"]["recipe"],
        "recipes": recipes,
    }


def _margins(found: list[tuple[Report, BundleReport]]) -> dict[str, float]:
    margins = {}
    for _, bundle in found:
        if bundle["failures"]:
            raise BudgetError(
                f"{bundle['path']}: has failed utterances; calibrate on sound bundles"
            )
    for name, metric in found[0][0]["metrics"].items():
        better = metric["better"]
        if better == "none" or metric["level"] in BEYOND_BUDGET:
            continue
        ends = [end for _, b in found if (end := bad_end(b, name, better)) is not None]
        if not ends:
            continue
        if len(ends) < len(found):
            raise BudgetError(f"{name}: is measured in some of the reports only; measure it in all")
        if metric["level"] == "free-running":
            ends += [end for r, _ in found if (end := floor_end(r, name)) is not None]
        worst = max(0.0, *ends)
        downward = metric["unit"] == "dB" and better == "higher"
        margin = worst + SLACK_DB if downward else worst * (1 + SLACK)
        if name in RATES:
            least = min(b["rows"][name]["n"] for _, b in found)
            margin = max(margin, math.ceil(3000 / least) / 1000)
        margins[name] = float(f"{max(margin, LEAST.get(name, 0.0)):.3g}")
    return margins


def bad_end(bundle: BundleReport, metric: str, better: str) -> float | None:
    """The end of the delta's interval on the bad side, as "how much worse"; None if it has none."""
    row = bundle["rows"].get(metric)
    end = None if row is None else row["high"] if better == "lower" else row["low"]
    return None if end is None else end if better == "lower" else -end


def floor_end(report: Report, metric: str) -> float | None:
    """The same of the baseline's difference from itself, which has no direction: the larger end."""
    floor = report["noise_floor"].get(metric)
    ends = [] if floor is None else [floor["low"], floor["high"]]
    return max((abs(end) for end in ends if end is not None), default=None)


def _round_up(size: int, slack: float) -> int:
    return -(-int(size * (1 + slack)) // 1000) * 1000
