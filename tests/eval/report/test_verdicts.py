"""The answer in one line, and how the rows lead to it."""

from __future__ import annotations

import copy
from typing import Any, get_args

import pytest

from flowvox.eval.report.verdicts import Kind, clauses, headline, lines, stand


def judge(report: dict[str, Any], **verdicts: str) -> dict[str, Any]:
    """Set verdicts of the second bundle and pass all its others; returns the bundle."""
    bundle = report["bundles"][1]
    for key, row in bundle["rows"].items():
        if report["metrics"][key]["margin"] is not None:
            row["verdict"] = verdicts.get(key, "pass")
    return bundle


@pytest.mark.parametrize(
    ("verdicts", "word", "sentence"),
    [
        ({}, "pass", "inside all margins"),
        ({"mos": "not measured"}, "pass", "inside the 9 margins measured"),
        ({"wer": "unsure"}, "unsure", "unsure about word error rate"),
        ({"wer": "fail", "pesq": "unsure"}, "fail", "fails word error rate"),
        ({"pesq": "fail", "kl_mean": "fail"}, "fail", "fails KL divergence, mean and PESQ"),
        ({"pesq": "fail", "wer": "fail", "rtf": "fail"}, "fail", "fails word error rate and 2 more"),
    ],
)  # fmt: skip
def test_the_worst_verdict_decides(
    report: dict[str, Any], verdicts: dict[str, str], word: str, sentence: str
) -> None:
    standing = stand(report, judge(report, **verdicts))
    assert (standing.verdict, standing.sentence) == (word, sentence)


def test_details_name_every_metric(report: dict[str, Any]) -> None:
    bundle = judge(
        report, wer="fail", pesq="fail", rtf="fail", mos="not measured", similarity="unsure"
    )
    assert stand(report, bundle).details == [
        "Fails word error rate · PESQ · RTF ratio",
        "Unsure about speaker similarity",
        "Inside 5 margins",
        "Not measured: DistillMOS",
    ]


def test_a_crash_is_no_clean_pass(report: dict[str, Any]) -> None:
    bundle = judge(report)
    bundle["failures"] = [{"utterance": "u", "error": "e"}]
    assert stand(report, bundle).verdict == "unsure"
    assert stand(report, bundle).sentence == "inside all margins, but 1 utterance crashed"


def test_nothing_judged_is_not_a_pass(report: dict[str, Any]) -> None:
    bundle = report["bundles"][1]
    bundle["rows"] = {}
    assert stand(report, bundle).verdict == "not measured"
    for metric in report["metrics"].values():
        metric["margin"] = None
    assert stand(report, bundle).verdict == "no margin"
    assert stand(report, bundle).sentence == "nothing was judged"


def test_headline(report: dict[str, Any]) -> None:
    assert headline(report) == (
        "tiny-int8: inside the 9 margins measured; "
        "tiny-int4: unsure about word error rate and 3 more; "
        "tiny-int4-rtn: fails word error rate and 4 more"
    )
    twin = copy.deepcopy(report["bundles"][1]) | {"name": "tiny-int8-too"}
    report["bundles"].append(twin)
    assert clauses(report)[0] == "tiny-int8, tiny-int8-too: inside the 9 margins measured"
    del report["bundles"][1:]
    assert headline(report) == "Only the baseline was measured; nothing to compare"


def test_lines_are_split_by_verdict_and_start_with_what_is_heard(report: dict[str, Any]) -> None:
    outside, inside, unjudged = (lines(report, kind) for kind in get_args(Kind))
    assert list(outside) == ["free-running", "teacher-forced", "codec"]
    assert list(inside) == ["speed"]
    assert list(unjudged) == ["free-running", "teacher-forced", "codec", "size"]
    titles = [
        line.metric["title"]
        for table in (outside, inside, unjudged)
        for of_level in table.values()
        for line in of_level
    ]
    assert sorted(titles) == sorted(metric["title"] for metric in report["metrics"].values())


def test_a_line_in_words(report: dict[str, Any]) -> None:
    row = {
        "value": 0.05,
        "baseline": 0.04,
        "delta": 0.01,
        "low": 0.002,
        "high": 0.018,
        "n": 9,
        "verdict": "pass",
    }
    report["bundles"][1]["rows"]["wer"] = row
    line = lines(report, "outside")["free-running"][0]
    assert line.margin == "+2\u00a0pp"
    assert line.baseline == "4.12\u202f%"
    assert (line.cells[0].value, line.cells[0].delta) == (
        "5.00\u202f%",
        "+1.0 [+0.2,\u00a0+1.8]\u00a0pp",
    )
    assert line.n == 0  # the bundles differ in it, so each cell says its own
    assert line.explanation == "Whisper tiny.en, errors over words said. Lower is better."
