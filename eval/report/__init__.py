"""The report of an evaluation: report.json, report.md and one self-contained report.html."""

from flowvox.eval.report.markdown import render_markdown
from flowvox.eval.report.page import render_html
from flowvox.eval.report.schema import SCHEMA, Report, ReportError, read_report, validate
from flowvox.eval.report.write import write

__all__ = [
    "SCHEMA",
    "Report",
    "ReportError",
    "read_report",
    "render_html",
    "render_markdown",
    "validate",
    "write",
]
