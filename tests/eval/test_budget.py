"""Budgets: read strictly, and calibrated so that the gate is neither always red nor never."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.eval.reports import LITTLE, UNMEASURED, bundle, report, row

from flowvox.eval.budget import SLACK, BudgetError, calibrate, read_budgets
from flowvox.eval.gate import gate

GOOD: dict[str, Any] = {
    "version": 1,
    "suite": "smoke",
    "baseline": "fp16",
    "recipes": {"int4": {"max_bytes": 1200, "max_rtf_ratio": 1.3, "margins": {"kld_mean": 0.07}}},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "budget.yaml"


def limits(recipe: dict[str, Any]) -> dict[str, Any]:
    """The good budget with other limits for int4."""
    return GOOD | {"recipes": {"int4": recipe}}


def test_a_budget_is_read(file: Path) -> None:
    file.write_text(yaml.safe_dump(GOOD))
    found = read_budgets(file)
    assert (found.suite, found.baseline) == ("smoke", "fp16")
    int4 = found.recipes["int4"]
    assert (int4.max_bytes, int4.max_rtf_ratio, int4.margins) == (1200, 1.3, {"kld_mean": 0.07})


def test_no_limit_is_a_choice(file: Path) -> None:
    file.write_text(yaml.safe_dump(limits({})))
    int4 = read_budgets(file).recipes["int4"]
    assert (int4.max_bytes, int4.max_rtf_ratio, int4.margins) == (None, None, {})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "not a budget of version 1"),
        ([], "not a budget of version 1"),
        (GOOD | {"version": 2}, "not a budget of version 1"),
        (GOOD | {"version": True}, "not a budget of version 1"),
        (GOOD | {"sweet": 1}, "sweet: no such key; known are baseline, recipes, suite, version"),
        (GOOD | {"suite": 5}, "suite: must be a name"),
        (GOOD | {"recipes": {}}, "recipes: must name at least one recipe"),
        (GOOD | {"recipes": ["int4"]}, "recipes: must name at least one recipe"),
        (limits(None), "int4: must be a mapping of limits"),  # type: ignore[arg-type]
        (limits({"margin": {}}), "int4: margin: no such key"),
        (limits({"margins": ["wer"]}), "int4: margins: must map metrics to numbers"),
        (limits({"margins": {"wer": "0.1 or so"}}), "int4: margins.wer: must be a number"),
        (limits({"margins": {"wer": -0.1}}), "margins.wer: must be a number, 0 or more"),
        (limits({"margins": {"wer": math.nan}}), "margins.wer: must be a number"),
        (limits({"margins": {"wer": math.inf}}), "margins.wer: must be a number"),
        (limits({"margins": {"wer": 10**400}}), "margins.wer: must be a number"),
        (limits({"max_bytes": True}), "max_bytes: must be a number"),
        (limits({"max_rtf_ratio": None}), "max_rtf_ratio: must be a number"),
    ],
)
def test_a_malformed_budget_names_the_key(file: Path, content: Any, says: str) -> None:
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(BudgetError) as error:
        read_budgets(file)
    assert says in str(error.value)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["{", "\t- a: [", "2001-13-01", "!!bool maybe", "!!timestamp x", "!!python/object:os.x {}",
     "&a [*b]", "? {a: 1}\n: 2", "9" * 5000, "[" * 2000],
)  # fmt: skip
def test_what_is_not_yaml_is_refused_in_one_line(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(BudgetError, match="it is not YAML"):
        read_budgets(file)


def test_unreadable_files(file: Path) -> None:
    with pytest.raises(BudgetError, match="No such file"):
        read_budgets(file)
    file.write_bytes(b"version: \xff")
    with pytest.raises(BudgetError, match="it is not YAML"):
        read_budgets(file)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
PLACES = [(), ("version",), ("suite",), ("recipes",), ("recipes", "int4"), ("recipes", 1),
          ("recipes", "int4", "margins"), ("recipes", "int4", "margins", "wer"),
          ("recipes", "int4", "max_bytes"), ("recipes", "int4", "max_rtf_ratio")]  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere_is_a_budget_or_a_budget_error(
    file: Path, place: tuple[Any, ...], value: Any
) -> None:
    content = {"": copy.deepcopy(GOOD)}
    inner: Any = content
    for key in ("", *place)[:-1]:
        inner = inner[key]
    inner[("", *place)[-1]] = value
    file.write_text(yaml.safe_dump(content[""], allow_unicode=True), encoding="utf-8")
    _only_budget_errors(file)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.from_regex(r"(version|!!\w+|[&*]a|[-?:|>{}\[\],#'\"%@`~\d.<= \n])*"))
def test_any_text_is_a_budget_or_a_budget_error(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    _only_budget_errors(file)


def _only_budget_errors(file: Path) -> None:
    try:
        found = read_budgets(file)
    except BudgetError as error:
        assert len(str(error).splitlines()) == 1
    else:
        for budget in found.recipes.values():
            assert all(math.isfinite(margin) and margin >= 0 for margin in budget.margins.values())


def test_margins_are_the_worst_bad_end_and_slack() -> None:
    worse = bundle("int4", kld_mean=row("kld_mean", 0.02, 0.03, 0.04))
    found = calibrate([report(bundle("int4")), report(worse)])
    margins = found["recipes"]["int4"]["margins"]
    assert margins["kld_mean"] == pytest.approx(0.04 * (1 + SLACK))
    assert margins["same_top_p"] == pytest.approx(0.05 * (1 + SLACK))
    assert margins["wer"] == pytest.approx(0.06 * (1 + SLACK))  # the other seed was worse
    assert margins["codec_snr"] == pytest.approx(80 + 3.5, abs=0.1)  # an error half as large again
    assert "duration_ratio" not in margins
    assert found["recipes"]["int4"]["max_rtf_ratio"] == pytest.approx(0.7 * 1.35, abs=0.01)
    assert found["recipes"]["int4"]["max_bytes"] == 2000  # 2 % more, in whole kB


def test_of_yes_and_no_one_utterance_may_differ() -> None:
    """The bootstrap sees no chance in a zero; at most one of n has its 97.5 % bound at 3 of n."""
    for n in (6, 7, 11, 16, 17, 100):
        none, one = (row("early_stop", 0.0, k / n, 3 * k / n, n) for k in (0, 1))
        found = calibrate([report(bundle("int4", early_stop=none))])
        margin = found["recipes"]["int4"]["margins"]["early_stop"]
        assert one["high"] <= margin < 4 / n


@settings(deadline=None)
@given(st.data())
def test_the_reports_that_it_was_written_from_pass(data: st.DataObject) -> None:
    reports = []
    for _ in range(data.draw(st.integers(1, 3))):
        rows = {}
        for name in LITTLE:
            # A ratio of times stays above zero, so its change (ratio - 1) stays above -1.
            end = st.floats(-0.75 if name == "rtf_ratio" else -2, 2, width=16)
            low, value, high = sorted(data.draw(st.tuples(end, end, end)))
            rows[name] = row(name, low, value, high, data.draw(st.integers(2, 30)))
        reports.append(report(bundle("int4", data.draw(st.integers(1, 10**10)), **rows)))
    text = yaml.safe_dump(calibrate(reports), sort_keys=False)
    budgets = _read(text)
    assert [row for r in reports for row in gate(r, budgets) if not row.inside] == []
    assert yaml.safe_dump(calibrate([*reports, *reports]), sort_keys=False) == text


def _read(text: str) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "budget.yaml"
        path.write_text(text)
        return read_budgets(path)


@pytest.mark.parametrize(
    ("reports", "says"),
    [
        ([report()], "at least one beside the baseline"),
        ([report(bundle("int4")), report(bundle("int8"))], "the same recipes"),
        ([report(bundle("int4") | {"failures": [{"utterance": "a/b/0", "error": "x"}]})], "failed"),
        ([report(bundle("int4")), report(bundle("int4", wer=UNMEASURED))], "wer: is measured in some"),
        ([report(bundle("int4")), report(bundle("int4"), suite=report()["suite"] | {"version": 2})], "suite"),
        ([report(bundle("int4")), report(bundle("int4"), baseline=report()["baseline"] | {"recipe": "fp32"})], "baseline"),
    ],
    ids=["nothing", "recipes", "failures", "gaps", "suite", "baseline"],
)  # fmt: skip
def test_reports_that_no_budget_fits_are_refused(reports: list[Any], says: str) -> None:
    with pytest.raises(BudgetError, match=says):
        calibrate(reports)


def test_what_no_report_measured_is_not_limited() -> None:
    found = calibrate([report(bundle("int4", wer=UNMEASURED))])
    assert "wer" not in found["recipes"]["int4"]["margins"]
