"""`flowvox verify`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flowvox.bundle import Bundle
    from flowvox.reference.checkpoint import Checkpoint

EXIT_DAMAGED = 1


def verify(
    path: Annotated[Path, typer.Argument(help="Bundle or checkpoint.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check names, shapes, hashes, graphs and values; exit 1 and list what is damaged."""
    from flowvox.bundle import MANIFEST
    from flowvox.errors import FlowvoxError

    if not ((path / MANIFEST).exists() or (path / "params.json").exists()):
        raise FlowvoxError(
            f"{path}: neither a bundle (with {MANIFEST}) nor a checkpoint (with params.json)"
        )
    problems = list(_problems(path))
    if as_json:
        typer.echo(json.dumps({"path": str(path), "ok": not problems, "problems": problems}))
    else:
        typer.echo("\n".join(problems) if problems else f"{path}: good")
    if problems:
        raise typer.Exit(EXIT_DAMAGED)


def _problems(path: Path) -> Iterator[str]:
    from flowvox.bundle import MANIFEST, Bundle
    from flowvox.errors import FlowvoxError
    from flowvox.reference.checkpoint import Checkpoint

    try:
        if (path / MANIFEST).exists():
            yield from _bundle_problems(Bundle.unchecked(path))
        else:
            yield from _checkpoint_problems(Checkpoint.open(path))
    except FlowvoxError as error:
        yield str(error)


def _bundle_problems(bundle: Bundle) -> Iterator[str]:
    damage = list(bundle.damage(hashes=True))
    yield from damage
    if not damage:
        from flowvox.runtime.tts import TTS

        TTS(bundle, "cpu", threads=1)  # opens every graph and compares its signature
        for voice in bundle.voices:
            bundle.voice(voice)


def _checkpoint_problems(checkpoint: Checkpoint) -> Iterator[str]:
    from flowvox.errors import FlowvoxError
    from flowvox.tensors import CODE_EMBEDDINGS, TOKEN_EMBEDDINGS
    from flowvox.tokenizer import Tokenizer

    for name in checkpoint.shapes:
        try:
            zeros = checkpoint.zero_rows(name)
        except FlowvoxError as error:
            yield str(error)
            continue
        padded = {TOKEN_EMBEDDINGS, CODE_EMBEDDINGS}
        if zeros and name not in padded and not name.endswith("semantic_codebook_output.weight"):
            yield f"{checkpoint.path}: {name} has {zeros} rows of zeros; download the weights again"
    tokenizer = Tokenizer.load(checkpoint.tokenizer_path)
    if tokenizer.vocab_size != checkpoint.config.backbone.vocab_size:
        yield f"{checkpoint.tokenizer_path}: has {tokenizer.vocab_size} tokens, params.json says else"
    for voice in checkpoint.voices():
        try:
            checkpoint.voice(voice)
        except FlowvoxError as error:
            yield str(error)
