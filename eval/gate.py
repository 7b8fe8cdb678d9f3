"""`flowvox gate`: a report against a budget, row by row. What is not proven to be inside is outside."""

from __future__ import annotations

from dataclasses import dataclass

from flowvox.eval.budget import Budget, BudgetError, Budgets, bad_end
from flowvox.eval.report.schema import BundleReport, Report


@dataclass(frozen=True)
class Check:
    """One row of the answer. found: how much worse (or how much) it may truly be; None: `unknown`."""

    bundle: str
    level: str
    metric: str
    found: float | None
    margin: float
    unit: str
    unknown: str = ""

    @property
    def inside(self) -> bool:
        """Whether even the bad end is within the margin."""
        return self.found is not None and self.found <= self.margin


def gate(report: Report, budgets: Budgets) -> list[Check]:
    """Every limit of the budget, checked. A recipe of the budget without a bundle counts as unknown.

    Raises BudgetError where budget and report do not fit each other.
    """
    if report["suite"]["name"] != budgets.suite:
        raise BudgetError(
            f"the report is of suite {report['suite']['name']}, the budget for {budgets.suite}; "
            f"run flowvox eval --suite {budgets.suite}"
        )
    if report["baseline"]["recipe"] != budgets.baseline:
        raise BudgetError(
            f"the report's baseline is {report['baseline']['recipe']}, the budget's "
            f"{budgets.baseline}; pass the right --baseline to flowvox eval"
        )
    bundles = [bundle for bundle in report["bundles"] if not bundle["is_baseline"]]
    for bundle in bundles:
        if bundle["recipe"] not in budgets.recipes:
            raise BudgetError(
                f"{bundle['name']}: the budget has no recipe {bundle['recipe']}; add it, "
                "or write one with flowvox gate --calibrate"
            )
    checks: list[Check] = []
    for recipe, budget in budgets.recipes.items():
        found = [bundle for bundle in bundles if bundle["recipe"] == recipe]
        for bundle in found:
            checks += _checks(report, bundle, budget)
        if not found:
            missing = "the report has no bundle of this recipe"
            checks.append(Check(recipe, "report", "bundle in the report", None, 0.0, "", missing))
    return checks


def _checks(report: Report, bundle: BundleReport, budget: Budget) -> list[Check]:
    name = bundle["name"]
    checks = [Check(name, "all", "failed utterances", float(len(bundle["failures"])), 0.0, "")]

    def check(level: str, metric: str, found: float | None, margin: float, unit: str) -> None:
        unknown = "" if found is not None else _unknown(report, bundle, metric)
        checks.append(Check(name, level, metric, found, margin, unit, unknown))

    if budget.max_bytes is not None:
        check("size", "bytes", float(bundle["bytes"]), budget.max_bytes, "bytes")
    if budget.max_rtf_ratio is not None:
        slower = bad_end(bundle, "rtf_ratio", "lower")
        ratio = None if slower is None else 1 + slower
        check("speed", "rtf_ratio", ratio, budget.max_rtf_ratio, "ratio")
    for metric, margin in budget.margins.items():
        known = report["metrics"].get(metric)
        if known is None:
            raise BudgetError(f"the budget limits {metric}, which the report does not know")
        if known["better"] == "none":
            raise BudgetError(f"the budget limits {metric}, but neither way is better")
        found = bad_end(bundle, metric, known["better"])
        check(known["level"], metric, found, margin, known["unit"])
    return checks


def _unknown(report: Report, bundle: BundleReport, metric: str) -> str:
    """Why a metric has no bound."""
    if metric in report["not_measured"]:
        return f"not measured: {report['not_measured'][metric]}"
    row = bundle["rows"].get(metric)
    if row is None or not row["n"]:
        return "not measured"
    return "no interval: of one utterance" if row["n"] == 1 else "not a finite number"
