"""report.html: the answer first, everything inside, nothing from outside, hostile text harmless."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from flowvox.errors import MissingPackageError
from flowvox.eval.report import page, render_html
from flowvox.eval.report.verdicts import VERDICTS, headline

HOSTILE = "<script>alert(1)</script> \"quoted\" 'single' & $x$ | {{ 7 * 7 }} </style> ![a](http://evil.example/a.png)"


class Tags(HTMLParser):
    """What a browser would see: tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


@pytest.fixture(scope="module")
def sample_page(_sampled: tuple[dict[str, Any], Path]) -> str:
    return render_html(*_sampled)  # type: ignore[arg-type]


def test_the_answer_comes_first(sample_page: str, report: dict[str, Any]) -> None:
    words = Tags(sample_page).words()
    assert words.startswith(headline(report))  # the title
    order = ["Verdicts", "Not measured", "Quality against size and speed", "Where it is lost",
             "Size and speed", "Listen", "Failures", "How to redo it"]  # fmt: skip
    places = [sample_page.index(f">{title}<") for title in order]
    assert places == sorted(places)


def test_verdicts_are_words(sample_page: str) -> None:
    for verdict in VERDICTS:
        assert re.search(
            rf'class="badge {verdict.replace(" ", "-")}">.*</span> {verdict}</span>', sample_page
        )


def test_what_was_not_measured_is_visible(sample_page: str) -> None:
    before_details = sample_page[: sample_page.index("<details")]
    assert "install flowvox[eval]" in before_details
    assert "this machine offers no counter" in before_details


def test_it_says_how_to_redo_it(sample_page: str, report: dict[str, Any]) -> None:
    words = Tags(sample_page).words()
    assert (
        "flowvox eval artifacts/tiny-int8 artifacts/tiny-int4 --suite smoke -o 'a report'" in words
    )
    for fact in ("AMD EPYC 7B13", "8.59 GB", "features avx2", "onnxruntime 1.32.0", "ab" * 32):
        assert fact in words
    for bundle in report["bundles"]:
        assert bundle["sha256"] in words


def test_it_needs_nothing_from_outside(sample_page: str) -> None:
    tags = Tags(sample_page)
    for tag, attributes in tags.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed"}
        for name in ("src", "href", "xlink:href", "poster", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, name)
    assert "@import" not in sample_page
    assert not re.findall(r"url\((?!#)", sample_page)
    assert any(
        "default-src 'none'" in (attributes.get("content") or "") for _, attributes in tags.tags
    )


def test_pairs_of_recordings_are_inside(sample_page: str, report: dict[str, Any]) -> None:
    tags = Tags(sample_page)
    pairs = 6 * (len(report["bundles"]) - 1)
    assert tags.count("audio") == 2 * pairs
    assert tags.count("img") == 2 * pairs
    assert tags.count("mark") > 0
    assert all(attributes.get("alt") for tag, attributes in tags.tags if tag == "img")


def test_the_failing_bundle_is_open_first(sample_page: str) -> None:
    listening = sample_page[sample_page.index(">Listen<") :]
    assert re.findall(r"<details( open)?>\s*<summary>([^<]*)<", listening) == [
        (" open", "tiny-int4-rtn"), ("", "tiny-int4"), ("", "tiny-int8"),
    ]  # fmt: skip


def test_failures_are_shown(sample_page: str) -> None:
    assert "RuntimeError: the codec returned no samples" in sample_page


def test_hostile_text_stays_text(report: dict[str, Any], folder: Path, sample_page: str) -> None:
    for bundle in report["bundles"]:
        bundle |= {"name": bundle["name"] + HOSTILE, "recipe": HOSTILE, "path": HOSTILE}
        bundle["failures"] = [{"utterance": HOSTILE, "error": HOSTILE}]
        for utterance in bundle["utterances"]:
            utterance |= {"text": HOSTILE, "heard": HOSTILE, "voice": HOSTILE}
        bundle["components"] = {HOSTILE: {"bytes": 1, "parameters": 1, "bits_per_weight": 4.0}}
    for metric in report["metrics"].values():
        metric |= {"title": HOSTILE, "explanation": HOSTILE, "unit": HOSTILE}
    report["not_measured"] = {HOSTILE: HOSTILE}
    report["machine"][HOSTILE] = HOSTILE
    report["command"] = [HOSTILE]
    tags = Tags(render_html(report, folder))  # type: ignore[arg-type]
    assert {tag for tag, _ in tags.tags} <= {tag for tag, _ in Tags(sample_page).tags}
    assert "<script>alert(1)</script>" in tags.words()
    assert "{{ 7 * 7 }}" in tags.words()


def test_a_bare_report(report: dict[str, Any], tmp_path: Path) -> None:
    for bundle in report["bundles"]:
        bundle |= {
            "rows": {},
            "curves": {},
            "speed": None,
            "utterances": [],
            "failures": [],
            "components": {},
        }
    report |= {"noise_floor": {}, "not_measured": {}}
    words = Tags(render_html(report, tmp_path)).words()  # type: ignore[arg-type]
    assert "tiny-int8, tiny-int4, tiny-int4-rtn: nothing was judged" in words
    assert "No utterance crashed." in words
    for section in ("Where it is lost", "Listen", "Quality against size and speed"):
        assert section not in words


def test_the_baseline_alone(report: dict[str, Any], folder: Path) -> None:
    del report["bundles"][1:]
    words = Tags(render_html(report, folder)).words()  # type: ignore[arg-type]
    assert words.startswith("Only the baseline was measured; nothing to compare")


def test_numbers_that_are_missing_everywhere(report: dict[str, Any], folder: Path) -> None:
    def emptied(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                k: v if k in {"n", "bytes", "seed", "cores"} else emptied(v)
                for k, v in value.items()
            }
        if isinstance(value, list):
            return [emptied(item) for item in value]
        return None if isinstance(value, float) else value

    edges = report["bundles"][1]["curves"]["boundary_distance"]["edges"]
    report["bundles"] = emptied(report["bundles"])
    report["noise_floor"] = emptied(report["noise_floor"])
    for bundle in report["bundles"][1:]:
        bundle["curves"]["boundary_distance"]["edges"] = edges
    words = Tags(render_html(report, folder)).words()  # type: ignore[arg-type]
    assert "None" not in words
    assert "nan" not in words.split()


def test_without_the_eval_extra(
    report: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "find_spec", lambda package: None)
    with pytest.raises(MissingPackageError, match=r"pip install \"flowvox\[eval\]\""):
        render_html(report, folder)  # type: ignore[arg-type]
