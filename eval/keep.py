"""What the repository keeps of an evaluation.

    python -m flowvox.eval.keep reports/results-standard docs/results/standard

writes docs/results/standard.json, condensed, and docs/results/standard.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from flowvox.eval.report.schema import Report, read_report, validate
from flowvox.files import write_beside


def condense(report: Report) -> Report:
    """The report without its single utterances."""
    return validate(
        {**report, "bundles": [{**bundle, "utterances": []} for bundle in report["bundles"]]}
    )


def main() -> None:
    """Keep the report of a folder."""
    folder, out = map(Path, sys.argv[1:])
    text = json.dumps(condense(read_report(folder / "report.json")), indent=1, ensure_ascii=False)
    write_beside(out.with_suffix(".json"), f"{text}\n".encode())
    write_beside(out.with_suffix(".md"), (folder / "report.md").read_bytes())


if __name__ == "__main__":
    main()
