"""The typer application, its verbs, and what an error looks like.

Exit status: 0 done; 1 the work was done and the answer is no; 2 the caller's mistake or bad input,
with one line on stderr; 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from typing import Annotated, Any

import typer

from flowvox import __version__
from flowvox.cli.bench import bench
from flowvox.cli.doctor import doctor
from flowvox.cli.evaluate import evaluate
from flowvox.cli.gate import gate
from flowvox.cli.info import info
from flowvox.cli.plan import plan
from flowvox.cli.prepack import prepack
from flowvox.cli.quantize import quantize
from flowvox.cli.random_checkpoint import random_checkpoint
from flowvox.cli.say import say
from flowvox.cli.verify import verify
from flowvox.cli.voices import voices
from flowvox.errors import FlowvoxError

# typer has its own copy of click since 0.2x: find the base of its errors through a public one.
ClickException: Any = typer.BadParameter.__mro__[2]
EXIT_NO, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="flowvox",
    help="Flow-matching speech models on small machines.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"flowvox {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Flow-matching speech models on small machines."""


app.command("eval")(evaluate)
for verb in (
    say, quantize, voices, gate, bench, plan, prepack, random_checkpoint, verify, info, doctor
):  # fmt: skip
    app.command()(verb)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process with the promised status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments  # accepted before and after the verb
    arguments = [argument for argument in arguments if argument != "--debug"]
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        status = app(args=arguments or ["--help"], prog_name="flowvox", standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        status = EXIT_INTERRUPTED
    except ClickException as error:
        return _fail(_with_hint(error.format_message(), arguments), debug)
    except FlowvoxError as error:
        return _fail(str(error), debug)
    except (BrokenPipeError, SystemExit):
        # The reader of our stdout went away (`flowvox say ... -o - | head`): not an error of ours.
        # typer turns it into SystemExit(1), its only use of that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(_explained(error), debug)
    if status == EXIT_INTERRUPTED:
        return _fail("interrupted; nothing was left half-written", debug, EXIT_INTERRUPTED)
    return status if isinstance(status, int) else 0


def _with_hint(message: str, arguments: list[str]) -> str:
    """`flowvox say "-5 degrees"`: a text that looks like an option needs two dashes before it."""
    if arguments[:1] != ["say"] or not re.match("No such option: -[^-]", message):
        return message
    return f"{message}; a text that begins with '-' comes after two dashes: flowvox say -- TEXT"


def _explained(error: OSError) -> str:
    """What the system refused, where no verb has said it better."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "no space for the output; free some and run this again"
    if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM}:
        return f"{error.filename}: no permission to write or read here"
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _fail(message: str, debug: bool, status: int = EXIT_BAD_INPUT) -> int:
    if debug:
        traceback.print_exc()
    line = " ".join(message.split())
    print(f"flowvox: {line}", file=sys.stderr)
    return status
