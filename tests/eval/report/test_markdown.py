"""report.md: the same answer as plain tables."""

from __future__ import annotations

from typing import Any

from flowvox.eval.report import render_markdown
from flowvox.eval.report.verdicts import VERDICTS, headline


def tables(markdown: str) -> list[list[str]]:
    """The tables' lines."""
    blocks = [block.splitlines() for block in markdown.split("\n\n")]
    return [block for block in blocks if block[0].startswith("| ")]


def test_the_answer_and_all_verdicts(report: dict[str, Any]) -> None:
    text = render_markdown(report)  # type: ignore[arg-type]
    assert text.startswith(f"# {headline(report)}\n")
    assert all(f"**{verdict}**" in text for verdict in VERDICTS)
    assert "install flowvox[eval]" in text
    assert "RuntimeError: the codec returned no samples" in text
    assert "--suite smoke" in text


def test_tables_are_whole(report: dict[str, Any]) -> None:
    found = tables(render_markdown(report))  # type: ignore[arg-type]
    assert len(found) == 6
    for lines in found:
        assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_hostile_text_stays_text(report: dict[str, Any]) -> None:
    hostile = "a | b\n\n# <img src=x> `code` [link](http://evil.example) **bold**"
    for bundle in report["bundles"]:
        bundle["name"] = hostile
        for utterance in bundle["utterances"]:
            utterance |= {"text": hostile, "heard": hostile}
    text = render_markdown(report)  # type: ignore[arg-type]
    assert "<img" not in text
    assert "](http" not in text
    assert "\n# <" not in text
    for lines in tables(text):
        assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_a_bare_report(report: dict[str, Any]) -> None:
    for bundle in report["bundles"]:
        bundle |= {
            "rows": {},
            "curves": {},
            "speed": None,
            "utterances": [],
            "failures": [],
            "components": {},
        }
    text = render_markdown(report)  # type: ignore[arg-type]
    assert "nothing was judged" in text
    assert "## Worst utterances" not in text
    assert "None" not in text
