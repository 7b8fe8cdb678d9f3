"""`flowvox verify`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowvox.adapter import described
from flowvox.cli.lora import facts

if TYPE_CHECKING:
    from flowvox.bundle import Bundle
    from flowvox.source import ModelSource

EXIT_DAMAGED = 1


def verify(
    path: Annotated[Path, typer.Argument(help="Bundle, checkpoint or GGUF file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check names, shapes, hashes, graphs and values; exit 1 and list what is damaged."""
    from flowvox.cli.artifact import open_artifact

    problems = list(_problems(path))
    adapters = [] if problems else open_artifact(path).adapters
    if as_json:
        found = {"path": str(path), "ok": not problems, "problems": problems, **facts(adapters)}
        typer.echo(json.dumps(found))
    else:
        typer.echo("\n".join(problems or [f"{path}: good", *described(adapters)]))
    if problems:
        raise typer.Exit(EXIT_DAMAGED)


def _problems(path: Path) -> Iterator[str]:
    from flowvox.bundle import Bundle
    from flowvox.cli.artifact import is_bundle, open_source
    from flowvox.errors import FlowvoxError

    bundle = is_bundle(path)  # neither of the two is the caller's mistake, not damage
    try:
        if bundle:
            yield from _bundle_problems(Bundle.unchecked(path))
        else:
            yield from _checkpoint_problems(open_source(path))
    except FlowvoxError as error:
        yield str(error)


def _bundle_problems(bundle: Bundle) -> Iterator[str]:
    """Files first; only what is whole is opened, read and run."""
    damage = list(bundle.damage(hashes=True))
    yield from damage
    for name in bundle.manifest["tables"]:
        if not damage and not bundle.table(name).is_finite():
            yield f"{bundle.path}: {name} holds values that are not finite; make the bundle again"
    if damage:
        return
    from flowvox.cli.one_frame import speak_one_frame

    speak_one_frame(bundle)


def _checkpoint_problems(checkpoint: ModelSource) -> Iterator[str]:
    from flowvox.errors import FlowvoxError
    from flowvox.tensors import CODE_EMBEDDINGS, TOKEN_EMBEDDINGS

    for name in checkpoint.shapes:
        try:
            zeros = checkpoint.zero_rows(name)
        except FlowvoxError as error:
            yield str(error)
            continue
        padded = {TOKEN_EMBEDDINGS, CODE_EMBEDDINGS}
        if zeros and name not in padded and not name.endswith("semantic_codebook_output.weight"):
            yield f"{checkpoint.path}: {name} has {zeros} rows of zeros; download the weights again"
    tokenizer = checkpoint.tokenizer()
    if tokenizer.vocab_size != checkpoint.config.backbone.vocab_size:
        yield f"{checkpoint.path}: tekken.json has {tokenizer.vocab_size} tokens, params.json says else"
    for voice in checkpoint.voices():
        try:
            checkpoint.voice(voice)
        except FlowvoxError as error:
            yield str(error)
