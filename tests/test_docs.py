"""The commands that README, docs and the example workflow show exist, with the options they use."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from flowvox.cli.app import app
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
WORKFLOW = REPOSITORY / "docs" / "examples" / "flowvox-gate.yml"


def shown(page: Path) -> str:
    """What is to be typed: the shell blocks of a page, the steps of a workflow."""
    text = page.read_text("utf-8")
    if page.suffix == ".md":
        return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S))
    jobs = yaml.safe_load(text)["jobs"].values()
    return "\n".join(step["run"] for job in jobs for step in job["steps"] if "run" in step)


def calls(page: Path) -> Iterator[list[str]]:
    """The words of each `flowvox` command; an ellipsis stands for words left out."""
    for line in shown(page).replace("\\\n", " ").splitlines():
        words = shlex.split(line.split(";")[0], comments=True)
        if words[:1] == ["flowvox"]:
            yield words[1:]


@pytest.mark.parametrize("page", [*PAGES, WORKFLOW], ids=lambda page: page.stem)
def test_commands_and_options_exist(page: Path) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for verb, *words in calls(page):
        assert verb in verbs, verb
        known = {
            option
            for param in verbs[verb].params
            for option in (*param.opts, *param.secondary_opts)
        }
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, (verb, used - known)


def test_the_pages_show_commands() -> None:
    assert sum(len(list(calls(page))) for page in PAGES) > 10
    assert {verb for verb, *_ in calls(WORKFLOW)} == {"quantize", "verify", "eval", "gate"}


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), (page.name, link)
