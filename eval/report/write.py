"""The three files of a report, each written beside and renamed."""

from __future__ import annotations

import json
from pathlib import Path

from flowvox.eval.report.markdown import render_markdown
from flowvox.eval.report.page import render_html
from flowvox.eval.report.schema import Report, validate
from flowvox.files import write_beside


def write(report: Report, folder: Path) -> None:
    """Write report.json, report.md and report.html into `folder`, which holds the recordings.

    The measurements are safe before anything is drawn. Raises ReportError, OutputError, and
    MissingPackageError without the eval extra.
    """
    checked = validate(report)
    text = json.dumps(checked, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_beside(folder / "report.json", text.encode())
    write_beside(folder / "report.md", render_markdown(checked).encode())
    write_beside(folder / "report.html", render_html(checked, folder).encode())
