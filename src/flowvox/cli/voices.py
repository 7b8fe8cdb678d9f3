"""`flowvox voices`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def voices(
    path: Annotated[
        Path | None,
        typer.Argument(help="Bundle, checkpoint or GGUF file; the built-in bundle by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the voices."""
    from flowvox.bundle import Bundle
    from flowvox.cli.artifact import open_artifact
    from flowvox.embedded import embedded_bundle

    artifact = open_artifact(path or embedded_bundle())
    names = artifact.voices if isinstance(artifact, Bundle) else list(artifact.voices())
    typer.echo(json.dumps({"voices": names}) if as_json else "\n".join(names))
