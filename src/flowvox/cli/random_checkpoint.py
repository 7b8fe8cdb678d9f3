"""`flowvox random-checkpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def random_checkpoint(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write.")],
    shape: Annotated[str, typer.Option(help="tiny, 4b, or a file like params.json.")] = "tiny",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
) -> None:
    """Write a random checkpoint in the published layout, streamed to disk."""
    from flowvox.cli.progress import byte_progress
    from flowvox.reference.random_checkpoint import load_shape, write_random_checkpoint

    with byte_progress("writing") as report:
        write_random_checkpoint(load_shape(shape), out, seed, report)
    typer.echo(str(out))
