"""`flowvox prepack`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer


def prepack(
    bundle: Annotated[Path | None, typer.Argument(help="The bundle to lay out.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all that was written.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Lay a bundle out for this processor, once: less memory from then on, shared by processes."""
    from flowvox.runtime.prepacked import cache_folder, clear_cache

    if clear == (bundle is not None):
        raise typer.BadParameter("give a BUNDLE or --clear")
    if bundle is None:
        freed = clear_cache()
        line = f"{cache_folder()}: removed, {freed / 1e6:.1f} MB"
        typer.echo(json.dumps({"path": str(cache_folder()), "freed": freed}) if as_json else line)
        return
    from flowvox.bundle import Bundle
    from flowvox.cli.progress import step_progress
    from flowvox.machine import peak_rss_bytes
    from flowvox.runtime.prepack import prepack as write

    started = time.perf_counter()
    with step_progress("graphs") as report:
        folders = write(Bundle.open(bundle), report)
    size = sum(file.stat().st_size for folder in folders.values() for file in folder.iterdir())
    result = {
        "path": str(cache_folder()),
        "bytes": size,
        "graphs": {name: str(folder) for name, folder in folders.items()},
        "seconds": round(time.perf_counter() - started, 3),
        "peak_rss_bytes": peak_rss_bytes(),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"{cache_folder()}: {size / 1e6:.1f} MB in {result['seconds']:.1f} s")
